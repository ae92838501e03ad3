"""One agent of this node, as its supervisor sees it: its process, its pipe, and how its past lives ended."""

from __future__ import annotations

import os
from collections import deque
from typing import Any

from msgspec import structs, to_builtins

from ..clock import now_ns, wall
from ..mailbox.letter import Crashed, Stopped
from ..mailbox.mailbox import MEMORY, Mailbox
from ..mailbox.pipe import Pipe
from ..messages import Failure
from ..process.exits import Exit, Reason, judge
from ..process.launcher import Process, Status
from ..spec import AgentSpec
from ..units import SECOND_NS, format_bytes, format_seconds
from .core import ChildView
from .output import Output
from .states import KillCause

MAX_TYPES = 50  # message types with a time of their own
KEPT_EXITS = 10  # what `why` shows
KILLED: dict[KillCause, tuple[Reason, str]] = {
    "command": ("killed", "by command"),
    "start_timeout": ("start_timeout", ""),
    "stop_timeout": ("killed", "it did not stop in time"),
    "unresponsive": ("unresponsive", ""),
    "at_once": ("killed", "with the supervisor"),
}
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Member:
    """`name` has the replica number; `shown` is what people and other agents see."""

    def __init__(self, name: str, shown: str, spec: AgentSpec) -> None:
        self.name = name
        self.shown = shown
        self.spec = spec
        self.incarnation = 0
        self.process: Process | None = None
        self.pipe: Pipe | None = None
        self.output: Output | None = None
        self.is_ready = False
        self.nats = "off"
        self.born_ns = 0
        self.crash: Failure | None = None
        self.farewell: Stopped | None = None
        self.killed_for: KillCause | None = None
        self.kill_detail = ""  # why we killed it, where the cause alone does not say
        self.owed: set[int] = set()  # snapshots that it was asked for and has not given
        self.is_stop_wanted = False  # asked to stop while its process was still being launched
        self.timings: dict[str, tuple[int, float]] = {}  # message type to samples, and the mean handling time of the latest
        self.exits: deque[Exit] = deque(maxlen=KEPT_EXITS)
        self.decisions: deque[str] = deque(maxlen=KEPT_EXITS)

    def expect(self, incarnation: int, *, has_nats: bool) -> None:
        """A new incarnation is being launched."""
        self.incarnation = incarnation
        self.process = self.pipe = self.output = None
        self.is_ready = self.is_stop_wanted = False
        self.crash = self.farewell = self.killed_for = None
        self.kill_detail = ""
        self.owed.clear()
        self.nats = "connecting" if self.spec.nats and has_nats else "off"
        self.born_ns = now_ns()

    def said(self, note: Crashed | Stopped) -> None:
        """The last words of its process."""
        if isinstance(note, Crashed):
            self.crash = note.failure
        else:
            self.farewell = note

    def ended(self, status: Status | None, failure: Failure | None = None, *, is_out_of_memory: bool = False) -> Exit:
        """Put the end of this incarnation on record. No `status`: there never was a process, because of `failure`."""
        code, signal = (status.exit_code, status.signal) if status else (None, None)
        said = failure or self.crash
        reason, detail = judge(
            code,
            signal,
            said=said,
            is_ready=self.is_ready,
            has_stopped=self.farewell is not None,
            killed_for=KILLED[self.killed_for] if self.killed_for else None,
        )
        if reason == "shutdown" and self.farewell is not None and self.farewell.by_itself:
            reason = "normal"
        if self.kill_detail and signal == "SIGKILL" and self.killed_for in ("command", None):
            detail = self.kill_detail
        elif signal == "SIGKILL" and self.killed_for is None and status is not None:
            peak = f"its memory peaked at {format_bytes(status.max_rss_bytes)}"
            reason, detail = ("out_of_memory", f"by the kernel; {peak}") if is_out_of_memory else (reason, f"not by us; {peak}")
        exit = Exit(
            reason=reason,
            exit_code=code,
            signal=signal,
            detail=detail,
            traceback=(said.traceback or None) if said else self._stacks(),
            at=wall().isoformat(timespec="milliseconds"),
            uptime_s=round((now_ns() - self.born_ns) / SECOND_NS, 3),
            output=tuple(self.output.lines) if self.output else (),
            incarnation=self.incarnation,
            pid=self.process.pid if self.process else None,
        )
        self.exits.append(exit)
        self.decisions.append("")
        self.process = self.pipe = None
        self.is_ready = False
        self.nats = "off"
        return exit

    def _stacks(self) -> str | None:
        """What a hung process wrote of its threads before it was killed."""
        lines = list(self.output.lines) if self.output and self.killed_for == "unresponsive" else []
        starts = [index for index, line in enumerate(lines) if line.startswith(("Thread 0x", "Current thread 0x"))]
        if not starts:
            return None
        shown = lines[starts[0] :]
        ours = next((index for index, line in enumerate(shown) if "/actorsys/runtime/child.py" in line), len(shown))
        return "\n".join(shown[:ours])  # below that it only says how a process is born

    def took(self, kind: str, seconds: float) -> None:
        """Learn from a sample how long messages of that type take; of more types than MAX_TYPES, the rest is one."""
        key = kind if kind in self.timings or len(self.timings) < MAX_TYPES else "(others)"
        count, mean = self.timings.get(key, (0, 0.0))
        count += 1
        self.timings[key] = count, mean + (seconds - mean) / min(count, MEMORY)

    def held(self, message: str) -> None:
        """It is known on which message the last incarnation died."""
        self.exits[-1] = structs.replace(self.exits[-1], message=message)

    def decided(self, decision: str) -> Exit | None:
        """Note what was decided about the last death; that death, if this is the first decision about it."""
        if not self.decisions or self.decisions[-1]:
            return None
        self.decisions[-1] = decision
        return self.exits[-1]

    def why(self, view: ChildView) -> dict[str, Any]:
        """What `actorsys why` shows."""
        exits = [{**to_builtins(exit), "decision": decision} for exit, decision in zip(self.exits, self.decisions, strict=True)]
        return {"name": self.shown, "state": view.state, "decision": view.decision, "exits": exits}

    def info(self, view: ChildView, box: Mailbox, dead_letters: int, llm: dict[str, Any] | None) -> dict[str, Any]:
        """One row of `actorsys ps -o json`."""
        last = self.exits[-1] if self.exits else None
        running = self.process is not None
        return {
            "name": self.shown,
            "type": self.spec.type,
            "state": view.state,
            "pid": self.process.pid if self.process else None,
            "uptime_s": round((now_ns() - self.born_ns) / SECOND_NS, 3) if running else None,
            "restarts": view.restarts,
            "mailbox": box.depth,
            "mailbox_size": box.spec.size,
            "in_flight": len(box.out),
            "waiting_ms": round(box.waited_ns / 1e6, 3) if box.samples else None,
            "handling_ms": {kind: round(mean * 1000, 3) for kind, (_, mean) in self.timings.items()},
            "handled": box.handled,
            "failed": box.failed,
            "dead_letters": dead_letters,
            "rss_bytes": rss_bytes(self.process.pid) if self.process else None,
            "nats": self.nats if running else "off",
            "llm": llm,
            "incarnation": view.incarnation,
            "last_exit": last and {
                "reason": last.reason, "exit_code": last.exit_code, "signal": last.signal, "at": last.at,
                "traceback": last.traceback, "detail": last.detail,
            },
            "note": self._note(view),
        }  # fmt: skip

    def _note(self, view: ChildView) -> str:
        if view.next_start_ns is not None:
            return f"retry in {format_seconds(max(0, view.next_start_ns - now_ns()) / SECOND_NS)}"
        return view.decision if view.state in ("failed", "waiting") else ""


def rss_bytes(pid: int) -> int | None:
    """The resident memory of a process, None when it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * PAGE_BYTES
    except (OSError, IndexError):
        import psutil  # where there is no /proc

        try:
            return int(psutil.Process(pid).memory_info().rss)
        except (psutil.Error, OSError):  # OSError: no descriptor left to look with
            return None
