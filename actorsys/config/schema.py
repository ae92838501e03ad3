"""From tables to specs: what may stand in agents.toml, and in the options of `Supervisor.spawn`.

Nothing is read from disk or from the environment here; `load` does that. All problems are found, not only the first.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from msgspec import Struct

from ..names import NAME_RULE, is_name, token
from ..spec import AgentSpec, GroupSpec, LlmSpec, NatsSpec, SupervisorSpec, nats_url
from .expand import expand
from .fit import build, fit, merge
from .locate import Key
from .problems import Problem, config_error, hint, shown
from .rules import BUILT_INS

TABLES = ("supervisor", "nats", "llm", "defaults", "agents", "groups")
LLM_TWINS = {"LLM_PROVIDER": "provider", "LLM_MODEL": "model", "LLM_MAX_TOKENS": "max_tokens", "LLM_TIMEOUT_SECONDS": "timeout"}
# Of [nats]: who we are for a server that is not ours.
NATS_LOGIN = ("token", "user", "password", "nkey_seed", "creds", "creds_file", "tls_ca", "tls_cert", "tls_key", "tls_hostname")
_MISSING_TYPE = 'missing; write the class as "module:Class"'


class Config(Struct, frozen=True, kw_only=True):
    """A whole agents.toml. `environ` is what its env_file adds to the environment of the agents. Its repr shows no secrets."""

    supervisor: SupervisorSpec = SupervisorSpec()
    nats: NatsSpec = NatsSpec()
    llm: dict[str, LlmSpec]
    agents: dict[str, AgentSpec]
    groups: dict[str, GroupSpec] = {}
    path: str | None = None
    environ: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Config({self.path!r}, agents={list(self.agents)})"


def agent_spec(name: str, table: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> AgentSpec:
    """The spec of one agent from the keys of its table; the same keys are the options of `Supervisor.spawn`.

    Durations and sizes are text or numbers. Raises ConfigError with one line for each wrong key.

    >>> agent_spec("counter", {"type": "shop:Counter", "restart": {"backoff": "1s"}}).restart.backoff
    1.0
    """
    problems: list[Problem] = []
    below = _agent_values(defaults or {}, ("defaults",), problems)
    values = _agent(name, table, (name,), below, problems)
    if problems:
        raise config_error(problems)
    return build(AgentSpec, {"name": name, **values})


def supervisor_spec(table: Mapping[str, Any]) -> SupervisorSpec:
    """The spec of a supervisor from the keys of [supervisor]. Raises ConfigError with one line for each wrong key."""
    problems: list[Problem] = []
    values = fit(table, SupervisorSpec, ("supervisor",), problems)
    if problems:
        raise config_error(problems)
    return build(SupervisorSpec, values)


def read(
    tables: Mapping[str, Any],
    *,
    toml: str = "",
    file: str = "",
    path: str | None = None,
    environ: Mapping[str, str] | None = None,
    added: Mapping[str, str] | None = None,
    name: str = "actorsys",
    probe: Callable[[Mapping[str, Any]], Iterable[Problem]] = lambda nats: (),
) -> Config:
    """The whole configuration.

    `toml` is the text the tables come from and `file` its name in error lines; `environ` is what `${VAR}` sees and `added` the part
    of it that the env_file brought; `name` is the supervisor's, when [supervisor] has none; `probe` finds what is wrong with the
    values of [nats] on this machine.

    Raises ConfigError with one line for each problem, in the order of the file.
    """
    environ = environ or {}
    problems: list[Problem] = []
    tables = expand(tables, environ, (), problems)
    problems.extend(Problem((key,), f"unknown table{hint(key, TABLES)}") for key in tables if key not in TABLES)
    supervisor = fit(tables.get("supervisor", {}), SupervisorSpec, ("supervisor",), problems)
    nats = nats_values(tables.get("nats", {}), environ, problems)
    problems.extend(probe(nats))
    llm = _llm(tables.get("llm", {}), environ, problems)
    defaults = _agent_values(tables.get("defaults", {}), ("defaults",), problems)
    agents = {
        key: _agent(key, table, ("agents", key), defaults, problems)
        for key, table in _named(tables.get("agents", {}), ("agents",), problems)
    }
    problems.extend(_crossings(agents, llm))
    problems.extend(_fallbacks(llm))
    groups = _groups(tables.get("groups", {}), agents, problems)
    if problems:
        raise config_error(problems, file=file, toml=toml)
    return Config(
        supervisor=build(SupervisorSpec, {"name": name, **supervisor}),
        nats=build(NatsSpec, nats),
        llm={key: build(LlmSpec, values) for key, values in llm.items()},
        agents={key: build(AgentSpec, {"name": key, **values}) for key, values in agents.items()},
        groups={key: build(GroupSpec, {"name": key, **values}) for key, values in groups.items()},
        path=path,
        environ=dict(added or {}),
    )


def _named(tables: Any, at: Key, problems: list[Problem]) -> Iterator[tuple[str, Any]]:
    """The tables whose keys are names, as far as they are."""
    if not isinstance(tables, Mapping):
        problems.append(Problem(at, f"expected tables, got {shown(tables)}"))
        return
    for key, table in tables.items():
        if is_name(key):
            yield key, table
        else:
            problems.append(Problem((*at, key), f"not a name: {NAME_RULE}"))


def group_specs(tables: Mapping[str, Any]) -> dict[str, GroupSpec]:
    """The groups of a supervisor from tables like those of [groups.NAME]. Raises ConfigError with one line for each wrong key."""
    problems: list[Problem] = []
    groups = _groups(tables, None, problems)
    if problems:
        raise config_error(problems)
    return {key: build(GroupSpec, {"name": key, **values}) for key, values in groups.items()}


def _groups(tables: Any, agents: Mapping[str, Any] | None, problems: list[Problem]) -> dict[str, dict[str, Any]]:
    """The [groups] tables; an agent is in one group at most."""
    groups = {
        key: fit(table, GroupSpec, ("groups", key), problems, without=("name",))
        for key, table in _named(tables, ("groups",), problems)
    }
    owners: dict[str, str] = {}
    for key, values in groups.items():
        for member in values.get("members", ()):
            if agents is not None and member not in agents:
                problems.append(Problem(("groups", key, "members"), f'no agent is named "{member}"{hint(member, agents)}'))
            if owners.setdefault(member, key) != key:
                problems.append(Problem(("groups", key, "members"), f'"{member}" is in group "{owners[member]}" already'))
    return groups


def llm_specs(tables: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, LlmSpec]:
    """The profiles of a supervisor from tables like those of [llm.NAME]. Raises ConfigError with one line for each wrong key."""
    problems: list[Problem] = []
    llm = _llm(tables, environ, problems)
    problems.extend(_fallbacks(llm))
    if problems:
        raise config_error(problems)
    return {key: build(LlmSpec, values) for key, values in llm.items()}


def nats_values(table: Any, environ: Mapping[str, str], problems: list[Problem]) -> dict[str, Any]:
    """The values of [nats]; without a `url` the environment may have one."""
    found: list[Problem] = []
    values = fit(table, NatsSpec, ("nats",), found)
    mode = values.get("mode", "auto")
    url = values["url"] = values.get("url") or nats_url(environ)
    if mode == "external" and not url and all(problem.at != ("nats", "url") for problem in found):
        found.append(Problem(("nats", "mode"), '"external" needs a url, or NATS_URL in the environment'))
    if mode == "external" and values.get("websocket"):
        found.append(Problem(("nats", "websocket"), 'is for the embedded server; with mode = "external" that server decides'))
    if mode == "embedded":
        text = 'is for a server that is not ours; with mode = "embedded" the supervisor makes a token of its own'
        found.extend(Problem(("nats", key), text) for key in NATS_LOGIN if values.get(key))
    problems.extend(found)
    return values


def _llm(tables: Any, environ: Mapping[str, str], problems: list[Problem]) -> dict[str, dict[str, Any]]:
    """The [llm] tables; the environment overrides `default`, and only that."""
    llm = {
        "default": {},
        **{key: fit(table, LlmSpec, ("llm", key), problems) for key, table in _named(tables, ("llm",), problems)},
    }
    for variable, key in LLM_TWINS.items():
        if text := environ.get(variable, "").strip():
            number = int(text) if text.isascii() and text.isdigit() and key in ("max_tokens", "timeout") else text
            found: list[Problem] = []
            llm["default"].update(fit({key: number}, LlmSpec, (), found))
            problems.extend(Problem((variable,), f"{problem.text} (from the environment)") for problem in found)
    return llm


def _fallbacks(llm: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    for name, values in llm.items():
        for other in values.get("fallback", ()):
            if other == name:
                yield Problem(("llm", name, "fallback"), "a profile cannot stand in for itself")
            elif other not in llm:
                yield Problem(("llm", name, "fallback"), f"there is no [llm.{other}]{hint(other, llm)}")


def _agent_values(table: Any, at: Key, problems: list[Problem]) -> dict[str, Any]:
    return fit(table, AgentSpec, at, problems, without=("name",))


def _agent(name: str, table: Any, at: Key, defaults: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """The values of one agent over the defaults, whose own problems are reported where they stand, once."""
    if not is_name(name):
        problems.append(Problem(at, f"not a name: {NAME_RULE}"))
    values = merge(defaults, _agent_values(table, at, problems))
    if "type" not in values and isinstance(table, Mapping) and "type" not in table:
        problems.append(Problem((*at, "type"), _MISSING_TYPE))
    if values.get("type") in BUILT_INS:
        values["type"] = BUILT_INS[values["type"]]
    return values


def _crossings(agents: Mapping[str, Mapping[str, Any]], llm: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong between tables: names that collide, names that nobody has, agents that wait for each other."""
    tokens: dict[str, str] = {}
    for name, values in agents.items():
        first = tokens.setdefault(token(name), name)
        if first != name:
            yield Problem(("agents", name), f'has the NATS token "{token(name)}", as "{first}" has; rename one of the two')
        for other in values.get("depends_on", ()):
            if other not in agents:
                yield Problem(("agents", name, "depends_on"), f'no agent is named "{other}"{hint(other, agents)}')
        profile = values.get("llm", "default")
        if profile not in llm:
            yield Problem(("agents", name, "llm"), f"there is no [llm.{profile}]{hint(profile, llm)}")
    yield from _cycles(
        {name: [other for other in values.get("depends_on", ()) if other in agents] for name, values in agents.items()}
    )


def _cycles(waits_for: dict[str, list[str]]) -> Iterator[Problem]:
    while True:
        try:
            TopologicalSorter(waits_for).prepare()
            return
        except CycleError as error:
            members = set(error.args[1])
            chain = list(
                reversed(error.args[1][1:])
            )  # given as: each before the one that waits for it, the first again at the end
            first = next(name for name in waits_for if name in members)
            chain = chain[chain.index(first) :] + chain[: chain.index(first)] + [first]
            yield Problem(("agents", first, "depends_on"), f"a cycle, nobody could start first: {' -> '.join(chain)}")
            waits_for = {**waits_for, first: [other for other in waits_for[first] if other != chain[1]]}
