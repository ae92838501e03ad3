"""What a supervisor needs to know to start a child, and to start it again.

The field names are the keys of agents.toml; `config.schema` reads them from text, these Structs hold the result.
"""

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct, field

from .units import Bytes, Seconds

RestartType = Literal["permanent", "transient", "temporary"]
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
Overflow = Literal["block", "reject", "drop_oldest"]
Launch = Literal["auto", "fork", "fresh"]
OnError = Literal["auto", "resume", "restart", "stop"]
NatsMode = Literal["auto", "external", "embedded", "off"]
Provider = Literal["mock", "openai", "anthropic"]
Api = Literal["chat", "responses"]
OnExhausted = Literal["fail", "pause"]


MAX_PAYLOAD = 16 * 2**20  # bytes; a frame, a control request and a reader's buffer are made for this much


class Spec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class RestartSpec(Spec, frozen=True):
    """When a child is started again. Limits: more than `max_restarts` deaths within `window` and it is `failed`."""

    type: RestartType = "permanent"  # always; transient: only after an abnormal exit; temporary: never
    max_restarts: int = 5  # 0: the first death is the last
    window: Seconds = Seconds(30)
    backoff: Seconds = Seconds(0.1)  # the first death in a window restarts at once, then this x 2 each time
    backoff_max: Seconds = Seconds(30)
    jitter: float = 0.2  # each wait is in [d, d * (1 + jitter)]
    reset_after: Seconds = Seconds(60)  # of quiet: the next death is the first again
    exit_ok: tuple[int, ...] = (0,)  # exit codes that count as normal


class MailboxSpec(Spec, frozen=True):
    size: int = 1000  # messages
    bytes: Bytes = Bytes(16 * 2**20)
    overflow: Overflow = "block"  # the sender waits; reject: MailboxFull; drop_oldest: to the dead letters
    window: int = 256  # messages that may be out unacknowledged
    max_deliveries: int = 3  # deaths on one message before it is quarantined
    durability: Literal["memory", "disk"] = "memory"


class BudgetSpec(Spec, frozen=True):
    """What calls of models may cost in each `window`; 0: without limit."""

    tokens: int = 0
    usd: float = 0.0
    window: Seconds = Seconds(3600)
    on_exhausted: OnExhausted = "fail"  # BudgetExceeded; pause: calls wait for the next window

    def __bool__(self) -> bool:
        return bool(self.tokens or self.usd)


class AgentSpec(Spec, frozen=True):
    """One agent, or `replicas` of it."""

    name: str
    type: str  # "module:Class", or the name of a built-in
    args: dict[str, Any] = field(default_factory=dict)
    replicas: int = 1
    launch: Launch = "auto"
    restart: RestartSpec = RestartSpec()
    mailbox: MailboxSpec = MailboxSpec()
    concurrency: int = 1
    memory: str = "in_memory"  # file, sqlite, nats_kv, or "module:Class"
    on_error: OnError = "auto"
    depends_on: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    nats: bool = True
    remote_state: bool = False  # whether other nodes may write its state
    llm: str = "default"
    budget: BudgetSpec = BudgetSpec()  # of all its replicas together, beside that of its profile
    start_timeout: Seconds = Seconds(10)
    stop_timeout: Seconds = Seconds(5)
    hang_timeout: Seconds = Seconds(30)
    capabilities: tuple[str, ...] = ()
    description: str = ""


class NatsSpec(Spec, frozen=True):
    """How to reach NATS, or whether to start a server. What follows `websocket` counts for an external server only.

    It may hold secrets, so its repr is short. `bus.nats_options` has the same names.
    """

    mode: NatsMode = "auto"
    url: str = ""
    websocket: bool = False  # whether the embedded server listens for websockets, too
    token: str = ""
    user: str = ""
    password: str = ""
    nkey_seed: str = ""
    creds: str = ""
    creds_file: str = ""
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    tls_hostname: str = ""
    connect_timeout: Seconds = Seconds(2)
    ping_interval: Seconds = Seconds(10)
    ping_timeout: Seconds = Seconds(20)
    outbox_bytes: Bytes = Bytes(2 * 2**20)

    def __repr__(self) -> str:
        return f"NatsSpec(mode={self.mode!r})"


def nats_url(environ: Mapping[str, str]) -> str:
    """The server that the environment names: NATS_URL, else NATS_WEBSOCKET_URL, or nothing.

    >>> nats_url({"NATS_URL": "", "NATS_WEBSOCKET_URL": "wss://nats.example.org"})
    'wss://nats.example.org'
    """
    return environ.get("NATS_URL", "").strip() or environ.get("NATS_WEBSOCKET_URL", "").strip()


class RateSpec(Spec, frozen=True):
    requests: int = 0  # that reach the provider in any `per`; 0: without limit
    per: Seconds = Seconds(1)


class PriceSpec(Spec, frozen=True):
    """USD for a million tokens; 0: unknown, so only tokens are counted."""

    input: float = 0.0
    output: float = 0.0


class LlmSpec(Spec, frozen=True):
    """One way to reach a model; agents name it with `llm`. Keys come from the environment, never from a file of ours."""

    provider: Provider = "mock"
    model: str = ""
    base_url: str = ""  # every OpenAI-compatible server
    api: Api = "chat"  # of provider openai; compatible servers have it
    max_tokens: int = 1024
    temperature: float | None = None  # None: the provider's own
    timeout: Seconds = Seconds(60)  # of one try
    fallback: tuple[str, ...] = ()  # profiles that stand in for it, in this order
    script: str = ""  # of provider mock: a file of rules
    rate: RateSpec = RateSpec()  # of all agents of the node together, as is the budget
    budget: BudgetSpec = BudgetSpec()
    price: PriceSpec = PriceSpec()


class SupervisorSpec(Spec, frozen=True):
    """A node: everything above the agents."""

    name: str = "actorsys"
    strategy: Strategy = "one_for_one"
    max_restarts: int = 0  # for all children together; 0: no limit
    window: Seconds = Seconds(60)
    max_children: int = 0  # agents spawned at run time; 0: no limit
    mailbox_bytes: Bytes = Bytes(256 * 2**20)
    max_payload: Bytes = Bytes(MAX_PAYLOAD)  # of one message or reply
    state_dir: str = ".actorsys"
    env_file: str = ".env"


class GroupSpec(Spec, frozen=True):
    """Children that share a fate. When a member has failed, or the group's own limit is passed, the whole group fails."""

    name: str
    members: tuple[str, ...] = ()
    strategy: Strategy = "one_for_all"
    max_restarts: int = 0  # for all members together; 0: no limit
    window: Seconds = Seconds(60)


class Assignment(Struct, frozen=True, kw_only=True):
    """What an agent's process is told at its birth."""

    name: str  # with its replica number: "counter/0"
    shown: str  # "counter" while there is one
    type: str
    args: dict[str, Any]
    incarnation: int
    last_frame: int = 0  # number of the last frame of an earlier incarnation that custody took
    run: str  # id of this life of the supervisor; part of every message id
    node: str = ""  # the supervisor's name
    instance: str = ""  # id of this life of the supervisor, for other nodes
    concurrency: int = 1
    memory: str = "in_memory"
    state_dir: str = ""
    remote_state: bool = False
    on_error: OnError = "auto"
    nats: dict[str, Any] | None = None  # options of its connection; None: off
    capabilities: tuple[str, ...] = ()
    description: str = ""
    llm: dict[str, dict[str, Any]] | None = None  # its profiles, the own one first; no keys. None: a mock
    log_level: str = "INFO"
    stop_timeout: float = 5.0
    max_payload: int = MAX_PAYLOAD

    def __repr__(self) -> str:  # `nats` and `args` may hold secrets
        return f"Assignment({self.name!r}, incarnation={self.incarnation})"
