"""May this child be restarted, and when?

Three questions, asked by `decide` in this order: does its restart type want it back after such an exit (if not: `Rest`); has it died
too often (`Window`; then: `Fail`); how long is the wait (`Backoff`; then: `Again`).
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b

from msgspec import Struct

from ..process.exits import Reason
from ..spec import RestartSpec
from ..units import SECOND_NS, format_seconds

NORMAL: frozenset[Reason] = frozenset({"normal", "shutdown"})


def ns(seconds: float) -> int:
    return round(seconds * SECOND_NS)


def is_normal(restart: RestartSpec, reason: Reason, exit_code: int | None = None, *, ended: bool = False) -> bool:
    """Whether an exit is one the child was free to make.

    >>> is_normal(RestartSpec(exit_ok=(0, 42)), "exit_code", 42), is_normal(RestartSpec(), "exit_code", 43)
    (True, False)
    """
    return ended or reason in NORMAL or (reason == "exit_code" and exit_code in restart.exit_ok)


def wants_restart(restart: RestartSpec, *, normal: bool) -> bool:
    """What the restart type says: permanent always, transient only after an abnormal exit, temporary never."""
    match restart.type:
        case "permanent":
            return True
        case "transient":
            return not normal
        case "temporary":
            return False


class Death(Struct, frozen=True):
    """The end of an incarnation that nobody asked to end."""

    at: int
    reason: Reason
    exit_code: int | None = None
    up_since: int | None = None  # None: it never became ready, which is a failed start whatever the exit was
    ended: bool = False  # by its own `self.stop()`
    poison: str | None = None  # the message it died on, when known for certain
    was_launched: bool = True  # False: there was no process at all, the machine is short of something
    is_pardoned: bool = False  # killed by command: charged to nobody


class Rest(Struct, frozen=True):
    """It stays down, and that is no failure."""

    decision: str
    is_normal: bool


class Fail(Struct, frozen=True):
    decision: str


class Again(Struct, frozen=True):
    decision: str
    delay_ns: int = 0


def wanted(rule: RestartSpec, death: Death) -> Rest | None:
    """What the restart type makes of a death; None: it wants the child back."""
    normal = death.up_since is not None and is_normal(rule, death.reason, death.exit_code, ended=death.ended)
    if wants_restart(rule, normal=normal):
        return None
    return Rest(f"{'ended normally' if normal else how(death)}; a {rule.type} child is not restarted", normal)


def decide(rule: RestartSpec, window: Window, backoff: Backoff, death: Death, fraction: float) -> Again | Fail:
    """What limit and backoff make of a death after which the child is wanted back; notes it in `window` and `backoff`."""
    if death.is_pardoned:
        return Again("restart at once: killed by command")
    span = format_seconds(rule.window)
    is_known = window.has(death.poison, death.at, ns(rule.window))
    count = window.charge(death.at, ns(rule.window), death.poison)
    if count > rule.max_restarts:
        return Fail(f"failed: {deaths(count)} in {span}, limit {rule.max_restarts}")
    if is_known:
        return Again("restart at once: died on the same message again, which counts once")
    delay = backoff.next_delay(rule, death, fraction)
    if delay:
        wait = format_seconds(delay / SECOND_NS)
        return Again(f"restart in {wait} ({count} of {deaths(rule.max_restarts)} in {span})", delay)
    return Again(f"restart at once: {'first death' if count == 1 else deaths(count)} in {span}")


def how(death: Death) -> str:
    reason = death.reason.replace("_", " ")
    if death.up_since is not None or death.reason in ("start_failed", "start_timeout"):
        return reason
    return f"start failed ({reason})"


def deaths(count: int) -> str:
    return "1 death" if count == 1 else f"{count} deaths"


class Window:
    """The deaths of the last while. OTP's rule: a stamp exactly one period old still counts."""

    __slots__ = ("_stamps",)

    def __init__(self) -> None:
        self._stamps: deque[tuple[int, str | None]] = deque()

    def charge(self, now: int, period_ns: int, poison: str | None = None) -> int:
        """Note a death and say how many the window holds now. Deaths on the same message are one, as young as the last."""
        if poison is not None:
            self._stamps = deque(stamp for stamp in self._stamps if stamp[1] != poison)
        self._stamps.append((now, poison))
        return self.count(now, period_ns)

    def count(self, now: int, period_ns: int) -> int:
        while self._stamps and now - self._stamps[0][0] > period_ns:
            self._stamps.popleft()
        return len(self._stamps)

    def has(self, poison: str | None, now: int, period_ns: int) -> bool:
        """Whether a death on that message is among those that count."""
        self.count(now, period_ns)
        return poison is not None and any(key == poison for _, key in self._stamps)

    def clear(self) -> None:
        self._stamps.clear()


class Backoff:
    """How long the next restart waits: not at all for the first death, then `backoff` x 2 each time."""

    __slots__ = ("due", "level")

    def __init__(self) -> None:
        self.level = 0  # how often a restart has waited since the last long quiet
        self.due: int | None = None  # when the last restart was allowed; a wait is no quiet, so the window counts from here

    def next_delay(self, rule: RestartSpec, death: Death, fraction: float) -> int:
        """The wait in ns before the next start. Only a life that became ready can count as quiet."""
        if death.up_since is not None and death.at - death.up_since >= ns(rule.reset_after):
            self.clear()
        is_first = self.due is None or (death.up_since is not None and death.at - self.due > ns(rule.window))
        if is_first and death.was_launched:
            delay = 0
        else:
            delay = delay_ns(rule, self.level, fraction)
            self.level += 1
        self.due = death.at + delay
        return delay

    def clear(self) -> None:
        self.level, self.due = 0, None


def delay_ns(restart: RestartSpec, level: int, fraction: float) -> int:
    """The n-th wait, somewhere in [d, d * (1 + jitter)].

    >>> [delay_ns(RestartSpec(), level, 0.0) // 1_000_000 for level in (0, 1, 2, 20)]
    [100, 200, 400, 30000]
    """
    base = min(ns(restart.backoff) << min(level, 64), ns(restart.backoff_max))
    return base + int(base * restart.jitter * fraction)


def fraction(seed: int, name: str, nth: int) -> float:
    """A number in [0, 1) that looks random and is the same each time for the same seed, child and death."""
    digest = blake2b(f"{seed}:{name}:{nth}".encode(), digest_size=6).digest()
    return int.from_bytes(digest) / 2**48
