import tomllib

import pytest

from actorsys import Agent
from actorsys.config.rules import BUILT_INS
from actorsys.config.schema import agent_spec, llm_specs, read, supervisor_spec
from actorsys.errors import ConfigError
from actorsys.runtime.child import load_class
from actorsys.spec import BudgetSpec, MailboxSpec, RestartSpec

GOOD = """
[supervisor]
strategy = "rest_for_one"
window = 90

[nats]
mode = "off"

[llm.fast]
provider = "openai"
model = "small"

[defaults]
restart = { type = "transient", backoff = "1s" }
env = { TZ = "UTC" }

[agents.store]
type = "shop:Store"
memory = "sqlite"

[agents.Web-Bot]
type = "shop.web:Bot"
args = { start = 5, url = "${URL:-none}", price = "$$5" }
replicas = 2
restart.backoff = "200ms"
mailbox = { size = 8, bytes = "1MiB", overflow = "reject" }
depends_on = ["store"]
env = { MODE = "${MODE}" }
llm = "fast"
capabilities = ["count"]
"""


def config(toml, **extra):
    return read(tomllib.loads(toml), toml=toml, file="agents.toml", **extra)


def problems(toml, **extra):
    with pytest.raises(ConfigError) as caught:
        config(toml, **extra)
    return caught.value.message.splitlines()


def test_a_whole_file_becomes_specs():
    found = config(GOOD, environ={"MODE": "live"}, added={"MODE": "live"}, name="shop")
    assert (found.supervisor.name, found.supervisor.strategy, found.supervisor.window) == ("shop", "rest_for_one", 90.0)
    assert found.nats.mode == "off"
    assert found.llm["fast"].model == "small"
    assert found.llm["default"].provider == "mock"
    assert found.environ == {"MODE": "live"}
    bot = found.agents["Web-Bot"]
    assert bot.name == "Web-Bot"
    assert bot.args == {"start": 5, "url": "none", "price": "$5"}
    assert bot.mailbox == MailboxSpec(size=8, bytes=2**20, overflow="reject")
    assert bot.depends_on == ("store",)


def test_defaults_are_merged_deeply_under_every_agent():
    bot = config(GOOD, environ={"MODE": "live"}).agents["Web-Bot"]
    assert bot.restart == RestartSpec(type="transient", backoff=0.2)
    assert bot.env == {"TZ": "UTC", "MODE": "live"}


def test_an_empty_file_is_a_supervisor_without_agents():
    assert config("").agents == {}


def test_nats_takes_its_url_from_the_environment_unless_the_file_has_one():
    environ = {"NATS_URL": "nats://there:4222"}
    assert config("", environ=environ).nats.url == "nats://there:4222"
    assert config('nats.url = "ws://here"', environ=environ).nats.url == "ws://here"
    both = {**environ, "NATS_WEBSOCKET_URL": "ws://web:8080"}
    assert config("", environ=both).nats.url == "nats://there:4222"
    assert config('nats.url = "${NATS_URL:-}"', environ={**both, "NATS_URL": ""}).nats.url == "ws://web:8080"


def test_llm_variables_override_only_the_default_profile():
    environ = {"LLM_PROVIDER": "anthropic", "LLM_MODEL": "big", "LLM_MAX_TOKENS": "99", "LLM_TIMEOUT_SECONDS": "5"}
    found = config(GOOD, environ={"MODE": "", **environ})
    default = found.llm["default"]
    assert (default.provider, default.model, default.max_tokens, default.timeout) == ("anthropic", "big", 99, 5.0)
    assert found.llm["fast"].provider == "openai"


def test_a_profile_has_fallbacks_limits_and_a_price():
    text = """
[llm.default]
temperature = 0
fallback = ["fast"]
rate = { requests = 10, per = "500ms" }
budget = { tokens = 5, usd = 1, window = "1m", on_exhausted = "pause" }
price = { input = 3, output = 15.0 }
[llm.fast]
api = "responses"
[agents.a]
type = "m:C"
budget = { usd = 0.5 }
"""
    found = read(tomllib.loads(text), toml=text)
    default = found.llm["default"]
    assert (default.temperature, default.fallback, default.rate.requests, default.rate.per) == (0, ("fast",), 10, 0.5)
    assert default.budget == BudgetSpec(tokens=5, usd=1, window=60.0, on_exhausted="pause")
    assert (default.price.input, default.price.output) == (3, 15.0)
    assert (found.llm["fast"].api, found.llm["fast"].temperature) == ("responses", None)
    assert found.agents["a"].budget.usd == 0.5
    assert found.agents["a"].budget
    assert not found.llm["fast"].budget


@pytest.mark.parametrize(
    ("tables", "error"),
    [
        ({"default": {"fallback": ["fats"]}, "fast": {}}, 'llm.default.fallback: there is no [llm.fats]; did you mean "fast"?'),
        ({"default": {"fallback": ["default"]}}, "llm.default.fallback: a profile cannot stand in for itself"),
        ({"default": {"rate": {"requests": -1}}}, "llm.default.rate.requests: must be 0 or more, not -1"),
        ({"default": {"rate": {"per": 0}}}, "llm.default.rate.per: must be more than 0"),
        ({"default": {"temperature": "warm"}}, 'llm.default.temperature: expected a number, got "warm"'),
        ({"default": {"budget": {"on_exhausted": "wait"}}}, 'llm.default.budget.on_exhausted: "wait" is not one of fail, pause'),
        ({"default": {"key": "k"}}, "llm.default.key: unknown field"),
    ],
)
def test_a_wrong_profile_of_a_supervisor_is_reported(tables, error):
    with pytest.raises(ConfigError) as caught:
        llm_specs(tables, {})
    assert error in str(caught.value)


def test_a_supervisor_has_a_default_profile_that_the_environment_changes():
    assert llm_specs({}, {"LLM_PROVIDER": "openai", "LLM_MODEL": "m"})["default"].model == "m"


def test_a_wrong_llm_variable_is_reported_by_its_name():
    assert problems("", environ={"LLM_MAX_TOKENS": "many"}) == [
        'agents.toml  LLM_MAX_TOKENS: expected a whole number, got "many" (from the environment)'
    ]


A = '[agents.a]\ntype = "m:A"\n'
B = '[agents.b]\ntype = "m:B"\n'

BROKEN = {
    "unknown key": (A + "  replcas = 2", '3:3  agents.a.replcas: unknown field; did you mean "replicas"?'),
    "unknown nested key": (A + "mailbox = { sise = 2 }", '3:13  agents.a.mailbox.sise: unknown field; did you mean "size"?'),
    "name is no key of a table": (A + 'name = "b"', "3:1  agents.a.name: unknown field"),
    "unknown table": ("[agent.a]", '1:1  agent: unknown table; did you mean "agents"?'),
    "text for a number": (A + 'replicas = "two"', '3:1  agents.a.replicas: expected a whole number, got "two"'),
    "truth for a number": (A + "replicas = true", "3:1  agents.a.replicas: expected a whole number, got true"),
    "number for a text": (A + "description = 5", '3:1  agents.a.description: expected text, got 5; write "5"'),
    "number for a table": (A + "restart = 5", "3:1  agents.a.restart: expected a table, got 5"),
    "text for a truth": (A + 'nats = "yes"', '3:1  agents.a.nats: expected true or false, got "yes"'),
    "text for a list": (A + 'capabilities = "x"', '3:1  agents.a.capabilities: expected a list of texts, got "x"'),
    "number in a list": (
        A + "capabilities = [1]",
        '3:1  agents.a.capabilities: expected a list of texts, got one with 1; write "1"',
    ),
    "agent is no table": ("agents.a = 5", "1:1  agents.a: expected a table, got 5"),
    "agents is no table": ("agents = 5", "1:1  agents: expected tables, got 5"),
    "environment value is no text": (A + "env.PORT = 80", '3:1  agents.a.env.PORT: expected text, got 80; write "80"'),
    "environment name": (A + 'env."A=B" = "x"', '3:1  agents.a.env: "A=B" cannot be set in an environment'),
    "bad duration": (
        A + 'stop_timeout = "5x"',
        '3:1  agents.a.stop_timeout: "5x" is not a duration; write "500ms", "5s", "1m30s" or a number of seconds',
    ),
    "negative duration": (
        A + "stop_timeout = -1",
        '3:1  agents.a.stop_timeout: -1 is not a duration; write "500ms", "5s", "1m30s" or a number of seconds',
    ),
    "no time at all": (A + 'hang_timeout = "0s"', "3:1  agents.a.hang_timeout: must be more than 0"),
    "bad size": (
        A + 'mailbox.bytes = "1XB"',
        '3:1  agents.a.mailbox.bytes: "1XB" is not a size; write "16MiB" or a number of bytes',
    ),
    "no room": (A + "mailbox.bytes = 0", "3:1  agents.a.mailbox.bytes: must be more than 0"),
    "window of nothing": (A + "mailbox.window = 0", "3:1  agents.a.mailbox.window: must be 1 or more, not 0"),
    "no replicas": (A + "replicas = 0", "3:1  agents.a.replicas: must be 1 or more, not 0"),
    "no concurrency": (A + "concurrency = -1", "3:1  agents.a.concurrency: must be 1 or more, not -1"),
    "negative restarts": (A + "restart.max_restarts = -1", "3:1  agents.a.restart.max_restarts: must be 0 or more, not -1"),
    "negative jitter": (A + "restart.jitter = -0.5", "3:1  agents.a.restart.jitter: must be 0 or more, not -0.5"),
    "endless jitter": (A + "restart.jitter = inf", "3:1  agents.a.restart.jitter: must be 0 or more, not inf"),
    "exit code": (A + "restart.exit_ok = [300]", "3:1  agents.a.restart.exit_ok: an exit code is 0 to 255, not 300"),
    "choice": (
        A + 'restart.type = "permanant"',
        '3:1  agents.a.restart.type: "permanant" is not one of permanent, transient, temporary; did you mean "permanent"?',
    ),
    "choice of another type": (A + "launch = 5", "3:1  agents.a.launch: 5 is not one of auto, fork, fresh"),
    "memory": (
        A + 'memory = "sqllite"',
        '3:1  agents.a.memory: "sqllite" is not one of in_memory, file, sqlite, nats_kv, nor "module:Class"; did you mean "sqlite"?',
    ),
    "argument that cannot travel": (
        A + f"args.n = {2**70}",
        "3:1  agents.a.args.n: cannot be handed to another process: ",
    ),
    "missing type": ("[agents.a]\nreplicas = 1", '1:1  agents.a.type: missing; write the class as "module:Class"'),
    "type without a class": (
        '[agents.a]\ntype = "shop.agents"',
        '2:1  agents.a.type: "shop.agents" is neither "module:Class" nor a built-in',
    ),
    "almost a built-in": (
        '[agents.a]\ntype = "sumarizer"',
        '2:1  agents.a.type: "sumarizer" is neither "module:Class" nor a built-in; did you mean "summarizer"?',
    ),
    "bad name": (
        '[agents."a.b"]\ntype = "m:A"',
        "1:1  agents.\"a.b\": not a name: a letter, then up to 62 letters, digits, '_' or '-'",
    ),
    "two names with one token": (
        '[agents.Web-Bot]\ntype = "m:A"\n[agents.web_bot]\ntype = "m:A"',
        '3:1  agents.web_bot: has the NATS token "web_bot", as "Web-Bot" has; rename one of the two',
    ),
    "unknown name in depends_on": (
        A + 'depends_on = ["stor"]\n[agents.store]\ntype = "m:S"',
        '3:1  agents.a.depends_on: no agent is named "stor"; did you mean "store"?',
    ),
    "cycle": (
        A + 'depends_on = ["b"]\n' + B + 'depends_on = ["a"]',
        "3:1  agents.a.depends_on: a cycle, nobody could start first: a -> b -> a",
    ),
    "waiting for oneself": (A + 'depends_on = ["a"]', "3:1  agents.a.depends_on: a cycle, nobody could start first: a -> a"),
    "unknown model": (A + 'llm = "fats"\n[llm.fast]', '3:1  agents.a.llm: there is no [llm.fats]; did you mean "fast"?'),
    "provider": (
        '[llm.default]\nprovider = "opnai"',
        '2:1  llm.default.provider: "opnai" is not one of mock, openai, anthropic; did you',
    ),
    "unset variable": (
        A + 'description = "${NOPE}"',
        "3:1  agents.a.description: the environment variable NOPE is not set; set it, or write ${NOPE:-default}",
    ),
    "unset variable in type": ('[agents.a]\ntype = "${NOPE}"', "2:1  agents.a.type: the environment variable NOPE is not set"),
    "open variable": (A + 'description = "${NOPE"', "3:1  agents.a.description: ${NOPE cannot be read; write ${NAME} or"),
    "external nats without url": (
        '[nats]\nmode = "external"',
        '2:1  nats.mode: "external" needs a url, or NATS_URL in the environment',
    ),
    "external with a listener": (
        '[nats]\nmode = "external"\nurl = "nats://h"\nwebsocket = true',
        '4:1  nats.websocket: is for the embedded server; with mode = "external" that server decides',
    ),
    "embedded with a login": (
        '[nats]\nmode = "embedded"\ntoken = "geheim"',
        '3:1  nats.token: is for a server that is not ours; with mode = "embedded" the supervisor makes a token of its own',
    ),
    "nats key": ('[nats]\npasword = "x"', '2:1  nats.pasword: unknown field; did you mean "password"?'),
    "ping interval": ("[nats]\nping_interval = 0", "2:1  nats.ping_interval: must be more than 0"),
    "nats url": ('[nats]\nurl = "http://x"', "2:1  nats.url: is not a NATS URL; write it as nats://host:4222 (or tls, ws, wss)"),
    "supervisor name": ('[supervisor]\nname = "a b"', '2:1  supervisor.name: "a b" is not a name: a letter'),
    "supervisor restarts": ("[supervisor]\nmax_restarts = -1", "2:1  supervisor.max_restarts: must be 0 or more, not -1"),
}


@pytest.mark.parametrize(("toml", "line"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_reported_by_one_exact_line(toml, line):
    found = problems(toml)
    assert len(found) == 1, found
    assert found[0].startswith(f"agents.toml:{line}")


def test_all_problems_are_reported_at_once_in_the_order_of_the_file():
    found = problems(A + "replicas = 0\nconcurency = 1\n" + B + 'depends_on = ["c"]\n[supervisor]\nstrategy = "all"')
    assert [line.partition("  ")[0] for line in found] == [f"agents.toml:{place}" for place in ("3:1", "4:1", "7:1", "9:1")]


def test_a_wrong_default_is_reported_once_where_it_stands():
    assert problems("[defaults]\nreplicas = 0\n" + A + B) == ["agents.toml:2:1  defaults.replicas: must be 1 or more, not 0"]


def test_two_cycles_are_two_problems():
    others = '[agents.c]\ntype = "m:C"\ndepends_on = ["c"]'
    found = problems(A + 'depends_on = ["b"]\n' + B + 'depends_on = ["a"]\n' + others)
    assert [line.rpartition(": ")[2] for line in found] == ["a -> b -> a", "c -> c"]


def test_spawn_options_are_the_keys_of_a_table():
    table = {"type": "m:A", "mailbox": {"size": 8, "bytes": 4096}, "stop_timeout": 0.5, "depends_on": ("b",)}
    spec = agent_spec("a", table, {"restart": {"backoff": "1s"}})
    assert (spec.name, spec.mailbox.size, spec.stop_timeout, spec.restart.backoff) == ("a", 8, 0.5, 1.0)


@pytest.mark.parametrize("name", BUILT_INS)
def test_a_built_in_is_a_class_of_ours_that_exists(name):
    path = agent_spec("a", {"type": name}).type
    assert path == agent_spec("a", {}, {"type": name}).type
    assert issubclass(load_class(path), Agent)


def test_a_wrong_spawn_option_names_its_key():
    with pytest.raises(ConfigError) as caught:
        agent_spec("counter", {"type": "m:A", "replcas": 2, "restart": {"window": "soon"}, "args": {"x": object()}})
    assert caught.value.message.splitlines()[0] == 'counter.replcas: unknown field; did you mean "replicas"?'
    assert [line.partition(":")[0] for line in caught.value.message.splitlines()] == [
        "counter.replcas",
        "counter.restart.window",
        "counter.args.x",
    ]
    assert caught.value.where == "counter.replcas"


def test_a_class_inside_a_function_cannot_be_spawned():
    with pytest.raises(ConfigError, match=r"make\.<locals>\.A is defined inside a function"):
        agent_spec("a", {"type": "m:make.<locals>.A"})


def test_a_bad_name_cannot_be_spawned():
    with pytest.raises(ConfigError, match="not a name"):
        agent_spec("a b", {"type": "m:A"})


def test_supervisor_options_are_checked_like_the_file():
    assert supervisor_spec({"max_restarts": 3}).max_restarts == 3
    with pytest.raises(ConfigError, match=r'supervisor.stratgy: unknown field; did you mean "strategy"'):
        supervisor_spec({"stratgy": "one_for_all"})


@pytest.mark.parametrize("value", ["17MiB", 0])
def test_a_payload_has_a_limit_of_at_most_16_mib(value):
    assert supervisor_spec({"max_payload": "16MiB"}).max_payload == 16 * 2**20
    with pytest.raises(ConfigError, match=r"supervisor.max_payload: must be more than 0 and at most 16MiB"):
        supervisor_spec({"max_payload": value})
