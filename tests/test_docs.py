"""What the documentation says is true: its programs run, its files are valid, and nothing that a user types is left out.

The info string of a block says what it is. ```python is a whole program and is run; `with=FOLDER` runs it in a copy of that example, beside
`actorsys supervise`; a `text output` block after it is what it prints. `fragment` blocks are only compiled, or only read as TOML.
"""

import ast
import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
import pytest
from msgspec import Struct, structs

from actorsys.bus import envelope
from actorsys.cli.main import COMMANDS, cli
from actorsys.config import schema
from actorsys.config.fit import fit
from actorsys.spec import AgentSpec, BudgetSpec, LlmSpec, MailboxSpec, NatsSpec, PriceSpec, RateSpec, RestartSpec, SupervisorSpec
from actorsys.testing.nats import require_server
from actorsys.testing.waiting import until

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*/README.md")])
TABLES = {
    "[supervisor]": SupervisorSpec,
    "[nats]": NatsSpec,
    "[llm.NAME]": LlmSpec,
    "[agents.NAME]": AgentSpec,
    "restart": RestartSpec,
    "mailbox": MailboxSpec,
    "rate": RateSpec,
    "budget": BudgetSpec,
    "price": PriceSpec,
}
FENCE = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
TIMEOUT = 60.0  # seconds; only a program that hangs takes that long


class Block(Struct, frozen=True):
    page: str
    line: int
    language: str
    notes: tuple[str, ...]
    text: str
    output: str | None = None  # of the block after it, if that is one

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_fragment(self) -> bool:
        return "fragment" in self.notes

    @property
    def folder(self) -> str | None:
        return next((note.removeprefix("with=") for note in self.notes if note.startswith("with=")), None)


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text()
    found: list[Block] = []
    for match in FENCE.finditer(text):
        language, *notes = match[1].split() or [""]
        if (language, notes) == ("text", ["output"]):
            found[-1] = structs.replace(found[-1], output=match[2])
            continue
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(str(page.relative_to(ROOT)), line, language, tuple(notes), match[2]))
    return found


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
PROGRAMS = [block for block in PYTHON if not block.is_fragment and block.folder is None]
CLIENTS = [block for block in PYTHON if block.folder is not None]


def sections(page: str) -> dict[str, str]:
    """The text under each heading of a page; a heading is named by what stands in backquotes in it, else by its words."""
    parts = re.split(r"^#{2,3} (.*)$", (ROOT / page).read_text(), flags=re.MULTILINE)
    return {heading.strip("`"): text for heading, text in zip(parts[1::2], parts[2::2], strict=True)}


def rows(text: str) -> dict[str, list[str]]:
    """The rows of the tables in a text, by the backquoted word in their first cell."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
        if line.startswith("| `") and cells:
            found[cells[0].partition("`")[2].partition("`")[0]] = cells
    return found


def environment() -> dict[str, str]:
    """Ours, without what would make the programs talk to somebody else's server."""
    unwanted = ("NATS_URL", "LLM_", "ACTORSYS_FILE", "ACTORSYS_SOCKET", "ACTORSYS_OUTPUT", "LOG_LEVEL")
    return {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}


def run(arguments: list[str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def supervised(example: str, tmp_path: Path):
    """A copy of an example under `actorsys supervise`, up."""
    folder = tmp_path / "copy"
    shutil.copytree(ROOT / example, folder, ignore=shutil.ignore_patterns(".actorsys", "__pycache__", "*.log"))
    command = [sys.executable, "-m", "actorsys", "supervise"]
    with (folder / "out.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=log, stderr=log)
    try:
        until(lambda: is_up(folder) or process.poll() is not None, TIMEOUT)
        assert process.poll() is None, (folder / "out.log").read_text()
        yield folder
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 0, (folder / "out.log").read_text()
    finally:
        process.kill()
        process.wait()


def is_up(folder: Path) -> bool:
    log = (folder / "out.log").read_text()
    return log.count("connected to NATS") >= len(tomllib.loads((folder / "agents.toml").read_text())["agents"])


# --- the blocks


def test_there_are_programs_and_clients_to_run():
    assert len(PROGRAMS) >= 3
    assert CLIENTS


def test_the_info_strings_are_known():
    known = {"python", "toml", "json", "console", "text", ""}
    assert [f"{block}: {block.language}" for block in BLOCKS if block.language not in known] == []
    notes = {(block.language, note.partition("=")[0]) for block in BLOCKS for note in block.notes}
    assert notes <= {("python", "fragment"), ("python", "with"), ("toml", "fragment")}


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_compiles(block):
    compile(block.text, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if block.is_fragment else 0)


@pytest.mark.slow
@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_a_program_runs_and_prints_what_the_page_says(block, tmp_path):
    (tmp_path / "program.py").write_text(block.text)
    output = run(["program.py"], tmp_path)
    if block.output is not None:
        assert output == block.output


@pytest.mark.slow
@pytest.mark.parametrize("block", CLIENTS, ids=str)
def test_a_client_runs_beside_its_example(block, tmp_path):
    require_server()
    with supervised(block.folder, tmp_path) as folder:
        (folder / "client.py").write_text(block.text)
        assert run(["client.py"], folder) == block.output


def test_hello_world_of_the_readme_prints_2():
    assert next(block for block in PROGRAMS if block.page == "README.md").output == "2\n"


def test_each_make_target_in_the_pages_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = {word for page in PAGES for word in re.findall(r"^(?:`|\$ )?make ([a-z]+)", page.read_text(), re.MULTILINE)}
    assert used <= targets


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "toml"], ids=str)
def test_toml_is_a_valid_configuration(block):
    tables = tomllib.loads(block.text)
    if not block.is_fragment:
        assert schema.read(tables, toml=block.text, file=str(block)).agents


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "json"], ids=str)
def test_json_is_json_and_an_envelope_is_one(block):
    value = json.loads(block.text)
    if "message_type" in value:
        envelope.decode(block.text.encode(), limit=2**20)


def test_each_command_line_in_the_pages_exists():
    wrong = []
    for block in BLOCKS:
        if block.language != "console":
            continue
        for line in block.text.splitlines():
            found = re.match(r"(?:\$ )?(?:.*\| )?actorsys ((?:-\S+ \S+ )*)([a-z]\S*)(.*)", line)
            if not found:
                continue
            command = cli.get_command(click.Context(cli), found[2])
            known = {flag for param in command.params for flag in param.opts} if command else set()
            if command is None or set(re.findall(r"(?<= )--?[a-z]+", found[3].partition("'")[0])) - known:
                wrong.append(f"{block}: {line}")
    assert wrong == []


def test_links_inside_the_project_lead_somewhere():
    links = [(page, target) for page in PAGES for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())]
    assert links
    assert [f"{page.relative_to(ROOT)}: {target}" for page, target in links if not (page.parent / target).exists()] == []


def test_no_path_of_a_certain_machine_is_shown():
    assert [str(block) for block in BLOCKS if re.search(r"(?<![\w.])/(work|tmp|root|home|Users)/", block.text)] == []


def test_the_readme_is_short_enough_to_be_read():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 270


# --- docs/config.md


@pytest.mark.parametrize(("heading", "cls"), TABLES.items())
def test_each_key_of_a_table_is_documented_with_its_default(heading, cls):
    documented = rows(sections("docs/config.md")[heading])
    fields = {field.name: field for field in structs.fields(cls) if (cls, field.name) != (AgentSpec, "name")}
    assert list(documented) == list(fields)
    for name, cells in documented.items():
        shown = cells[2].strip("`")
        if cells[2].startswith("`"):
            problems = []
            value = fit(tomllib.loads(f"{name} = {shown}"), cls, (), problems)[name]
            field = fields[name]
            default = field.default_factory() if field.default is structs.NODEFAULT else field.default
            assert problems == []
            assert (type(default)() if value == {} else value) == default, name
        else:
            assert fields[name].required or fields[name].default is None or name == "name", name


def test_each_table_that_a_file_may_have_is_a_heading():
    text = (ROOT / "docs/config.md").read_text()
    assert [table for table in schema.TABLES if f"[{table}" not in text] == []


def test_each_choice_of_a_key_is_named():
    text = (ROOT / "docs/config.md").read_text()
    missing = []
    for cls in TABLES.values():
        for field in structs.fields(cls):
            choices = msgspec.inspect.type_info(field.type)
            if isinstance(choices, msgspec.inspect.LiteralType):
                missing += [f"{field.name} = {choice}" for choice in choices.values if f'"{choice}"' not in text]
    assert missing == []


# --- docs/cli.md, docs/messages.md, docs/nats.md


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_and_each_option_is_documented(name):
    text = (ROOT / "docs/cli.md").read_text()
    headings = " ".join(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert re.search(rf"`{name}[ `]", headings)
    for param in cli.get_command(click.Context(cli), name).params:
        if isinstance(param, click.Option):
            assert any(f"{flag}`" in text or f"{flag} " in text for flag in param.opts), param.opts


@pytest.mark.slow
def test_ps_and_why_answer_with_the_documented_fields(tmp_path):
    require_server()
    page = sections("docs/cli.md")
    with supervised("examples/counter", tmp_path) as folder:
        (row,) = json.loads(run(["-m", "actorsys", "-o", "json", "ps"], folder))
        assert list(row) == list(rows(page["ps [NAME]..."]))
        os.kill(row["pid"], signal.SIGKILL)
        until(lambda: json.loads(run(["-m", "actorsys", "-o", "json", "ps"], folder))[0]["restarts"] == 1)
        found = json.loads(run(["-m", "actorsys", "-o", "json", "why", "counter"], folder))
        assert list(found) == ["name", "state", "decision", "exits"]
        assert list(found["exits"][0]) == list(rows(page["why NAME"]))


def test_the_errors_are_drawn_as_in_the_code():
    import actorsys.errors

    tree = inspect.cleandoc(actorsys.errors.__doc__).partition("ActorError\n")[2].partition("\n\n")[0]
    drawn = (ROOT / "docs/messages.md").read_text().partition("```text\nActorError\n")[2].partition("\n```")[0]
    assert drawn.splitlines() == [line.removeprefix("    ") for line in tree.splitlines()]


def test_each_field_of_the_envelope_is_documented():
    assert list(rows(sections("docs/nats.md")["The envelope"])) == list(structs.asdict(_any_envelope()))


def _any_envelope() -> envelope.Envelope:
    block = next(block for block in BLOCKS if block.language == "json" and "message_type" in block.text)
    return envelope.decode(block.text.encode(), limit=2**20)


# --- the examples


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        page for page in sorted(ROOT.glob("examples/*/README.md")) if (page.parent / "agents.toml").exists()
    ],  # the others need a server
    ids=lambda page: page.parent.name,
)
def test_what_an_example_says_to_type_gives_what_it_shows(page, tmp_path):
    require_server()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with supervised(str(page.parent.relative_to(ROOT)), tmp_path) as folder:
        for command, shown in typed(page):
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=folder,
                env={**environment(), "PATH": path},
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stderr}"
            if shown:
                assert done.stdout == shown, command


def typed(page: Path) -> list[tuple[str, str]]:
    """What the page says to type, and what it shows for that; without the `supervise` that runs already."""
    found = []
    for block in blocks_of(page):
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            if command != "actorsys supervise":
                found.append((command, shown))
    return found
