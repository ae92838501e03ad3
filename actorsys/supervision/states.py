"""The words of the supervision machine: states, events, actions; and which moves between states exist.

A move that MOVES does not list is a bug and raises.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from msgspec import Struct

from ..process.exits import Reason
from ..spec import AgentSpec, RestartSpec, Spec
from .restart import Backoff, Window, ns

State = Literal["waiting", "starting", "running", "backoff", "draining", "stopping", "stopped", "failed"]

MOVES: dict[State, frozenset[State]] = {
    "waiting": frozenset({"starting", "stopped", "failed"}),  # will start: its turn, its dependencies or a free slot is missing
    "starting": frozenset({"running", "waiting", "backoff", "stopping", "stopped", "failed"}),  # launched, not ready yet
    "running": frozenset({"waiting", "backoff", "draining", "stopping", "stopped", "failed"}),
    "backoff": frozenset({"waiting", "stopped", "failed"}),  # will start at a known time
    "draining": frozenset({"waiting", "stopping", "stopped", "failed"}),  # takes no new work, finishes its mailbox
    "stopping": frozenset({"waiting", "stopped", "failed"}),  # asked to stop or being killed
    "stopped": frozenset({"waiting"}),  # only a command starts it again
    "failed": frozenset({"waiting"}),  # died too often; only a command starts it again
}
ALIVE: frozenset[State] = frozenset({"starting", "running", "draining", "stopping"})  # a process may exist

After = Literal["stopped", "waiting", "failed", "removed", "dropped"]
"""What becomes of a child that is being stopped: `waiting` starts it again, `removed` and `dropped` forget it (the second
only where it is dynamic)."""


class Child(Spec, frozen=True):
    """What the core needs to know of one process: a child spec without anything that only its launch needs."""

    name: str
    restart: RestartSpec = RestartSpec()
    start_timeout_ns: int = 10_000_000_000
    stop_timeout_ns: int | None = 5_000_000_000  # 0: killed without being asked; None: as long as it takes
    depends_on: tuple[str, ...] = ()  # an agent's name stands for all its replicas
    group: str | None = None
    dynamic: bool = False  # added at run time: stopped in parallel, and forgotten when it ends if it is temporary
    replica: int = 0

    @property
    def is_temporary(self) -> bool:
        return self.restart.type == "temporary"


def child(
    spec: AgentSpec, name: str | None = None, *, replica: int = 0, group: str | None = None, dynamic: bool = False
) -> Child:
    """What the core needs to know of one process of an agent."""
    return Child(
        name=name or spec.name,
        restart=spec.restart,
        start_timeout_ns=ns(spec.start_timeout),
        stop_timeout_ns=ns(spec.stop_timeout),
        depends_on=spec.depends_on,
        group=group,
        dynamic=dynamic,
        replica=replica,
    )


# Events: what happened. All are facts or commands; none is an answer that somebody waits for inside the machine.


class Event(Struct, frozen=True):
    pass


class Start(Event, frozen=True):
    """Start the children that were added so far; later ones start when they are added."""


class Stop(Event, frozen=True):
    """Stop everything in order; with `kill` at once and in no order, also when an ordered stop is under way."""

    kill: bool = False


class Tick(Event, frozen=True):
    """Time passed."""


class Add(Event, frozen=True):
    child: Child
    start: bool = True


class Update(Event, frozen=True):
    """Take another spec for a child of the same name; it holds from the next decision on, a start deadline under way stays."""

    child: Child


class Remove(Event, frozen=True):
    """Forget a child; one that is up is an error unless `force`, which stops it first."""

    name: str
    force: bool = False


class StartChild(Event, frozen=True):
    name: str


class StopChild(Event, frozen=True):
    """Stop a child and keep it stopped; with `drain` it may finish its mailbox first."""

    name: str
    drain: bool = False
    cause: str = "by command"


class RestartChild(Event, frozen=True):
    name: str


class KillChild(Event, frozen=True):
    """SIGKILL now; then what the restart type says, charged to nobody."""

    name: str


class Ready(Event, frozen=True):
    name: str
    incarnation: int


class Drained(Event, frozen=True):
    name: str
    incarnation: int


class Unresponsive(Event, frozen=True):
    name: str
    incarnation: int


class Exited(Event, frozen=True):
    """A process is gone. `ended`: by its own `self.stop()`; `poison`: the id of the message that it is known to have died on."""

    name: str
    incarnation: int
    reason: Reason
    exit_code: int | None = None
    ended: bool = False
    poison: str | None = None


class LaunchFailed(Event, frozen=True):
    """There is no process: EAGAIN, EMFILE, no memory. A failed start that always waits before the next one."""

    name: str
    incarnation: int


Command = Update | Remove | StartChild | StopChild | RestartChild | KillChild
AnyEvent = Start | Stop | Tick | Add | Ready | Drained | Unresponsive | Exited | LaunchFailed | Command

# Actions: what the driver is to do, in this order.

Ending = Literal["shutdown", "intensity", "escalation"]
KillCause = Literal["command", "start_timeout", "stop_timeout", "unresponsive", "at_once"]


class Action(Struct, frozen=True):
    pass


class Launch(Action, frozen=True):
    name: str
    incarnation: int


class Drain(Action, frozen=True):
    """Deliver nothing new, and say `Drained` when the mailbox is done."""

    name: str
    incarnation: int


class Shutdown(Action, frozen=True):
    """Ask to stop. The core keeps the deadline."""

    name: str
    incarnation: int


class Kill(Action, frozen=True):
    """SIGKILL. `why` tells the exit reason that follows: start_timeout and unresponsive are reasons, the rest is `killed`."""

    name: str
    incarnation: int
    why: KillCause


class Changed(Action, frozen=True):
    """A child is in another state now; `decision` is a sentence for people that names the rule."""

    name: str
    state: State
    decision: str


class Removed(Action, frozen=True):
    name: str


class Rejected(Action, frozen=True):
    """A command does not apply; `why` is one of OTP's answers: unknown, running, restarting, ..."""

    name: str
    why: str


class Escalated(Action, frozen=True):
    """A group has failed (or the whole supervisor: None), and what that means for the others is decided one level up."""

    group: str | None
    reason: str


class Finished(Action, frozen=True):
    """Nothing runs any more and nothing will start again."""

    reason: Ending


@dataclass(slots=True, eq=False)
class Slot:
    """One child's place with its supervisor: its spec, its state, and what has happened to it."""

    child: Child
    rank: int  # place in the order of start
    state: State = "stopped"
    decision: str = "not started yet"
    incarnation: int = 0
    after: After | None = None  # it has to stop, and this is what comes then; None: it may live
    cause: str = ""  # why it has to stop: "by command", "with web"
    wake: int | None = None  # the one timer a state can have: start deadline, stop deadline or end of backoff
    round: int | None = None  # starts and stops one by one with the others of the same number
    up_since: int | None = None  # ready since then, this incarnation
    restarts: int = 0  # starts that no command asked for, without the first
    is_automatic: bool = False  # the start it waits for is one that no command asked for
    is_restart: bool = False  # the start it waits for is not its first, and not by the command `start`
    is_killed: bool = False  # a kill is under way to this incarnation
    is_pardoned: bool = False  # killed by command: this death is charged to nobody
    is_done: bool = False  # ended normally by itself after it had been ready
    window: Window = field(default_factory=Window)
    backoff: Backoff = field(default_factory=Backoff)

    @property
    def name(self) -> str:
        return self.child.name

    @property
    def is_alive(self) -> bool:
        return self.state in ALIVE


class ChildView(Struct, frozen=True):
    """One child, for display."""

    name: str
    state: State
    incarnation: int
    deaths: int  # within the window of its limit
    restarts: int  # starts that no command asked for, without the first
    next_start_ns: int | None  # the end of its backoff
    decision: str


def move(slot: Slot, state: State, decision: str) -> None:
    """Put a child into another state, for the reason `decision`. Every move goes through here.

    Raises ValueError if MOVES does not list the move.
    """
    if state not in MOVES[slot.state]:
        raise ValueError(f"{slot.name}: no move from {slot.state} to {state} ({decision})")
    slot.state, slot.decision, slot.wake = state, decision, None
    if state not in ALIVE:
        slot.after, slot.up_since, slot.is_killed, slot.is_pardoned, slot.is_done = None, None, False, False, False
    if state in ("stopped", "failed") or (state == "running" and slot.after is None):
        slot.round = None
