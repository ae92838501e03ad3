"""What a supervisor needs to know to start a child, and to start it again.

The field names are the keys of agents.toml; `config.schema` reads them from text, these Structs hold the result.
"""

from typing import Any, Literal

from msgspec import Struct, field

from .units import Bytes, Seconds

RestartType = Literal["permanent", "transient", "temporary"]
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
Overflow = Literal["block", "reject", "drop_oldest"]
Launch = Literal["auto", "fork", "fresh"]
OnError = Literal["auto", "resume", "restart", "stop"]
NatsMode = Literal["auto", "external", "embedded", "off"]


class Spec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class RestartSpec(Spec):
    """When a child is started again. Limits: more than `max_restarts` deaths within `window` and it is `failed`."""

    type: RestartType = "permanent"  # always; transient: only after an abnormal exit; temporary: never
    max_restarts: int = 5  # 0: the first death is the last
    window: Seconds = Seconds(30)
    backoff: Seconds = Seconds(0.1)  # the first death in a window restarts at once, then this x 2 each time
    backoff_max: Seconds = Seconds(30)
    jitter: float = 0.2  # each wait is in [d, d * (1 + jitter)]
    reset_after: Seconds = Seconds(60)  # of quiet: the next death is the first again
    exit_ok: tuple[int, ...] = (0,)  # exit codes that count as normal


class MailboxSpec(Spec):
    size: int = 1000  # messages
    bytes: Bytes = Bytes(16 * 2**20)
    overflow: Overflow = "block"  # the sender waits; reject: MailboxFull; drop_oldest: to the dead letters
    window: int = 256  # messages that may be out unacknowledged
    max_deliveries: int = 3  # deaths on one message before it is quarantined
    durability: Literal["memory", "disk"] = "memory"


class AgentSpec(Spec):
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
    start_timeout: Seconds = Seconds(10)
    stop_timeout: Seconds = Seconds(5)
    hang_timeout: Seconds = Seconds(30)
    capabilities: tuple[str, ...] = ()
    description: str = ""


class NatsSpec(Spec):
    mode: NatsMode = "auto"
    url: str = ""


class SupervisorSpec(Spec):
    """A node: everything above the agents."""

    name: str = "actorsys"
    strategy: Strategy = "one_for_one"
    max_restarts: int = 0  # for all children together; 0: no limit
    window: Seconds = Seconds(60)
    mailbox_bytes: Bytes = Bytes(256 * 2**20)
    state_dir: str = ".actorsys"
    env_file: str = ".env"
