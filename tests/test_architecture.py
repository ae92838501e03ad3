"""The floors of the package: who may import whom, which modules are pure, how long a module may be.

The source is read, not run: imports inside functions count, imports under `if TYPE_CHECKING` do not.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import actorsys

ROOT = Path(actorsys.__file__).parent

# Imports go down only, or stay on their floor. A folder stands for all its modules; where the modules of a folder are on several
# floors each is named. Docstring and imports only: every __init__ is exempt, and counts as the modules it re-exports.
FLOORS: dict[int, str] = {
    0: "errors units names messages spec clock",
    1: """
        mailbox.letter mailbox.codec mailbox.kinds mailbox.framing mailbox.mailbox mailbox.switchboard mailbox.replies
        mailbox.dead_letters mailbox.traffic mailbox.durable mailbox.recent
        supervision.states supervision.restart supervision.strategy supervision.core supervision.health supervision.links
        supervision.plan supervision.profiles
        process.exits
        llm.base llm.breaker llm.budget llm.extract llm.rate llm.schema
        llm.model_errors llm.wire llm.wire_chat llm.wire_messages llm.wire_responses
    """,
    2: "process mailbox.pipe mailbox.loopback mailbox.outbox mailbox.deadlines mailbox.stream mailbox.ref mailbox.journal bus comms memory llm config observe",
    3: """
        runtime supervision.supervisor supervision.control supervision.commands supervision.driver supervision.mail
        supervision.member supervision.models supervision.nats supervision.output supervision.oom supervision.ties supervision.pulse supervision.state_dir supervision.presence supervision.stand_in
    """,
    4: "agents cluster",
    5: "cli web testing __main__",
}
FLOOR = {name: floor for floor, names in FLOORS.items() for name in names.split()}

# The two processes of the third floor: what runs inside an agent, what runs inside the supervisor.
AGENT_SIDE = ("runtime",)
SUPERVISOR_SIDE = tuple(name for name in FLOORS[3].split() if name.startswith("supervision."))

# No clock, no I/O, no asyncio, no logging: all of floor 1, and these of the floors above.
PURE = {
    *FLOORS[1].split(),
    "runtime.handlers",
    "bus.depth", "bus.envelope", "bus.subjects", "comms.peers",
    "config.dotenv", "config.expand", "config.fit", "config.locate", "config.problems", "config.rules", "config.schema",
    "observe.counters",
    "cluster.lease", "cluster.placement", "cluster.view",
}  # fmt: skip
PURE_BELOW = {"errors", "units", "names", "messages", "spec"}  # what a pure module may import besides pure modules: not clock
IMPURE = {
    "asyncio", "concurrent", "contextvars", "ctypes", "fcntl", "glob", "http", "io", "logging", "mmap", "multiprocessing", "os",
    "pathlib", "platform", "queue", "random", "resource", "sched", "secrets", "select", "selectors", "shutil", "signal", "socket",
    "socketserver", "sqlite3", "ssl", "subprocess", "sys", "tempfile", "termios", "threading", "time", "tty", "urllib", "uuid",
    "aiohttp", "anthropic", "click", "nacl", "nats", "nkeys", "openai", "prometheus_client", "psutil", "starlette", "tenacity", "uvicorn", "uvloop",
}  # fmt: skip
# Of these impure modules the names that are mere values or pure functions.
PURE_NAMES = {
    "pathlib": {"PurePath", "PurePosixPath"},
    "random": {"Random"},  # an instance that is handed in, seeded by a test
    "signal": {"Signals"},
    "sys": {"intern", "maxsize"},
    "uuid": {"UUID"},
}
IMPURE_CALLS = {"open", "print", "input", "breakpoint", "exec", "eval"}
CLOCK_READS = {"now", "utcnow", "today"}  # methods of datetime and date

PROVIDERS = {"openai", "anthropic", "llm.openai", "llm.anthropic"}
NEVER_PROVIDERS = ("supervision", "config", "cli")

MAX_LINES = 400
REASON = re.compile(r"\bover 400 lines\b")


def module_name(path: Path) -> str:
    """`mailbox/codec.py` -> "mailbox.codec"; a package is called by its folder, the root by ""."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}
PACKAGES = {name for name, path in SOURCES.items() if path.name == "__init__.py"}
MODULES = sorted(set(SOURCES) - PACKAGES)
TREES = {name: ast.parse(path.read_text(), str(path)) for name, path in SOURCES.items()}


def within(name: str, folders: tuple[str, ...]) -> bool:
    return any(name == folder or name.startswith(f"{folder}.") for folder in folders)


def floor_of(name: str) -> int | None:
    """The floor of a module: its own entry, or that of its folder."""
    while name:
        if name in FLOOR:
            return FLOOR[name]
        name = name.rpartition(".")[0]
    return None


def code(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes that exist at run time: without the bodies of `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield other
                yield from code(other)
        else:
            yield node
            yield from code(node)


def imports(name: str) -> Iterator[tuple[int, str, str | None]]:
    """(line, absolute dotted module, name taken from it or None) for each import of the module `name`."""
    package = f"actorsys.{name}" if name in PACKAGES else f"actorsys.{name}".rpartition(".")[0]
    package = package.rstrip(".")
    for node in code(TREES[name]):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, None
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            for alias in node.names:
                yield node.lineno, ".".join([*base, *([node.module] if node.module else [])]), alias.name


def inner_imports(name: str) -> Iterator[tuple[int, str, str | None]]:
    """(line, module of ours, name taken from its __init__ or None) for each import of one of our modules."""
    for line, module, taken in imports(name):
        if module != "actorsys" and not module.startswith("actorsys."):
            continue
        target = module.removeprefix("actorsys").lstrip(".")
        if taken is not None and f"{target}.{taken}".lstrip(".") in SOURCES:
            yield line, f"{target}.{taken}".lstrip("."), None
        else:
            yield line, target, taken


def reached(package: str, taken: str | None) -> set[str]:
    """The modules that a package's __init__ re-exports (under that name): these are what an import of it means."""
    found = set()
    for node in ast.walk(TREES[package]):
        if isinstance(node, ast.ImportFrom) and (taken is None or taken in {alias.asname or alias.name for alias in node.names}):
            target = f"{package}.{node.module}".lstrip(".") if node.level == 1 and node.module else None
            if target in SOURCES:
                found.add(target)
    return found


def dependencies(name: str) -> Iterator[tuple[int, str]]:
    """(line, module of ours) with packages replaced by what they re-export."""
    for line, target, taken in inner_imports(name):
        if target in PACKAGES:
            for module in reached(target, taken):
                yield line, module
        else:
            yield line, target


def at(name: str, line: int) -> str:
    return f"{SOURCES[name].relative_to(ROOT.parent)}:{line}"


def test_the_floor_table_names_each_module_once() -> None:
    names = [name for names in FLOORS.values() for name in names.split()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", MODULES)
def test_every_module_has_a_floor(name: str) -> None:
    assert floor_of(name) is not None, (
        f"actorsys/{name.replace('.', '/')}.py is on no floor: decide on which it belongs and add it to FLOORS in {Path(__file__).name}"
    )


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down_only(name: str) -> None:
    mine = floor_of(name)
    for line, target in dependencies(name):
        theirs = floor_of(target)
        if mine is not None and theirs is not None:
            assert theirs <= mine, f"{at(name, line)}: {name} (floor {mine}) imports {target} (floor {theirs}), which is above it"


@pytest.mark.parametrize("name", MODULES)
def test_only_features_and_edges_import_the_public_face(name: str) -> None:
    for line, target, taken in inner_imports(name):
        if target == "" and taken != "__version__":
            assert (floor_of(name) or 0) >= 4, f"{at(name, line)}: import {taken} from the module that defines it"


@pytest.mark.parametrize(
    ("side", "others"), [(AGENT_SIDE, SUPERVISOR_SIDE), (SUPERVISOR_SIDE, AGENT_SIDE)], ids=["agent", "supervisor"]
)
def test_a_side_does_not_import_the_other(side: tuple[str, ...], others: tuple[str, ...]) -> None:
    for name in (name for name in MODULES if within(name, side)):
        for line, target in dependencies(name):
            assert not within(target, others), f"{at(name, line)}: {name} imports {target}, which lives in another process"


def test_built_in_agents_use_public_names_only() -> None:
    for name in (name for name in MODULES if within(name, ("agents",))):
        for line, target, _ in inner_imports(name):
            public = target in PACKAGES or within(target, ("agents",))
            assert public, (
                f"{at(name, line)}: {name} imports {target}; take the name from `actorsys` or from a package's __init__"
            )


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_an_init_only_re_exports(name: str) -> None:
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.If, ast.Expr, ast.FunctionDef)
    for node in TREES[name].body:
        assert isinstance(node, allowed), f"{at(name, node.lineno)}: code belongs in a module, __init__ only re-exports"
        if isinstance(node, ast.FunctionDef):
            assert node.name in {"__getattr__", "__dir__"}, f"{at(name, node.lineno)}: move {node.name} into a module"


@pytest.mark.parametrize("name", sorted(PURE & set(MODULES)))
def test_a_pure_module_touches_no_clock_and_no_world(name: str) -> None:
    aliases: dict[str, str] = {}  # local name -> impure module of which only PURE_NAMES may be used
    for line, module, taken in imports(name):
        root = module.partition(".")[0]
        if root not in IMPURE:
            continue
        fine = PURE_NAMES.get(root, set())
        assert fine, f"{at(name, line)}: {name} is pure and must not import {module}"
        assert taken is None or taken in fine, (
            f"{at(name, line)}: {name} is pure and may take {sorted(fine)} from {root}, not {taken}"
        )
    for node in code(TREES[name]):
        if isinstance(node, ast.Import):
            aliases |= {alias.asname or alias.name: alias.name for alias in node.names if alias.name in PURE_NAMES}
    for node in code(TREES[name]):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            module = aliases[node.value.id]
            assert node.attr in PURE_NAMES[module], (
                f"{at(name, node.lineno)}: {name} is pure and must not use {module}.{node.attr}"
            )
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in IMPURE_CALLS, f"{at(name, node.lineno)}: {name} is pure and must not call {called}()"
            reads = re.fullmatch(r"(?:datetime\.)*(?:datetime|date)\.(\w+)", called)
            assert not (reads and reads[1] in CLOCK_READS), f"{at(name, node.lineno)}: {name} is pure; time is an argument"
        assert not isinstance(node, (ast.AsyncFunctionDef, ast.Await)), f"{at(name, node.lineno)}: {name} is pure and never waits"


@pytest.mark.parametrize("name", sorted(PURE & set(MODULES)))
def test_a_pure_module_rests_on_pure_modules(name: str) -> None:
    for line, target in dependencies(name):
        assert target in PURE | PURE_BELOW, f"{at(name, line)}: {name} is pure and imports {target}, which is not"


@pytest.mark.parametrize("name", [name for name in MODULES if within(name, NEVER_PROVIDERS)])
def test_the_supervisor_and_the_command_line_never_import_a_provider(name: str) -> None:
    outer = {(line, module.partition(".")[0]) for line, module, _ in imports(name)}
    for line, module in outer | set(dependencies(name)):
        assert module not in PROVIDERS, f"{at(name, line)}: {name} imports {module}; only agents talk to a model"


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_long_module_says_why(name: str) -> None:
    lines = len(SOURCES[name].read_text().splitlines())
    if lines > MAX_LINES:
        header = " ".join((ast.get_docstring(TREES[name]) or "").split())
        assert REASON.search(header), (
            f"{at(name, 1)} has {lines} lines: split it, or say in its docstring why it is 'over 400 lines'"
        )
