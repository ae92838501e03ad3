"""Agents that do to their supervisor what agents do: obey, dawdle, refuse to start or to stop, quit, hog, fork.

They are for tests of supervision, yours as well as ours: `sup.spawn(Stillborn, name="bad", args={"how": "hang"})`. All of them answer
`Pid`, quit when told `Quit`, and write what happens to them into a `journal`, one line each ("NAME start"), if they are given one.
"""

import asyncio
import collections
import fcntl
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

from ..messages import Event, Request
from ..runtime.agent import Agent
from ..runtime.handlers import on

HowToQuit = Literal["stop", "exit", "os_exit", "raise", "signal"]

FOR_EVER = 3600.0  # seconds


class Pid(Request[int]):
    """The process id of whoever answers."""


class Quit(Event):
    """End by itself: `self.stop()`, `sys.exit(code)`, `os._exit(code)`, an exception, or signal number `code` to itself."""

    how: HowToQuit = "stop"
    code: int = 0


class Obedient(Agent):
    """Starts, answers, and stops when it is asked to.

    `lock` names a file that it holds locked while it lives; a start while another one holds it fails. `load` is whatever a test wants
    its arguments to weigh.
    """

    def __init__(self, journal: str = "", lock: str = "", load: str = "") -> None:
        self.journal = journal
        self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) if lock else -1

    def note(self, what: str) -> None:
        """Add a line to the journal: one write, so that lines of several processes do not mix."""
        if self.journal:
            with open(self.journal, "ab", buffering=0) as file:
                file.write(f"{self.name} {what}\n".encode())

    async def on_start(self) -> None:
        if self._lock >= 0:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.note("start")

    async def on_stop(self, reason: str) -> None:
        self.note("stop")

    @on
    async def pid(self, msg: Pid) -> int:
        return os.getpid()

    @on
    async def quit(self, msg: Quit) -> None:
        await quit(self, msg.how, msg.code)


async def quit(agent: Agent, how: HowToQuit, code: int = 0) -> None:
    """End the process of an agent in one of the ways of `Quit`."""
    match how:
        case "stop":
            await agent.stop()
        case "exit":
            sys.exit(code)
        case "os_exit":
            os._exit(code)
        case "raise":
            raise RuntimeError("told to quit")
        case "signal":
            os.kill(os.getpid(), code)
            time.sleep(FOR_EVER)  # noqa: ASYNC251 - the signal ends it, now or in a moment; until then it does nothing else


class Slow(Obedient):
    """Takes `start` seconds to be ready and `stop` seconds to stop."""

    def __init__(self, start: float = 0.0, stop: float = 0.0, **more: str) -> None:
        super().__init__(**more)
        self._start, self._stop = start, stop

    async def on_start(self) -> None:
        await asyncio.sleep(self._start)
        await super().on_start()

    async def on_stop(self, reason: str) -> None:
        self.note("asked")
        await asyncio.sleep(self._stop)
        await super().on_stop(reason)


class Deaf(Obedient):
    """Ignores every signal that can be ignored, and never ends in order.

    `how`: "stop" never comes to the end of `on_stop` and swallows its cancellation, "pipe" closes its connection to the supervisor when
    it is told `Quit`, "child" leaves a process in a session of its own that ignores signals, too.
    """

    def __init__(self, how: Literal["stop", "pipe", "child"] = "stop", **more: str) -> None:
        super().__init__(**more)
        self._how = how

    async def on_start(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)  # a child that is started now inherits it
        if self._how == "child":
            subprocess.Popen(["sleep", "3600"], start_new_session=True)  # noqa: ASYNC220
        await super().on_start()

    async def on_stop(self, reason: str) -> None:
        self.note("asked")
        while True:
            try:
                await asyncio.sleep(FOR_EVER)
            except asyncio.CancelledError:
                pass

    @on
    async def quit(self, msg: Quit) -> None:
        if self._how == "pipe":
            os.closerange(3, 64)
            time.sleep(FOR_EVER)  # noqa: ASYNC251 - nothing of it reaches anybody any more
        await quit(self, msg.how, msg.code)


class Stillborn(Obedient):
    """Does not start: raises, exits with code 3, hangs, or declines by `self.stop()`. It starts well once the file `cure` exists."""

    def __init__(self, how: Literal["raise", "exit", "hang", "decline"] = "raise", cure: str = "", **more: str) -> None:
        super().__init__(**more)
        self._how, self._cure = how, cure

    async def on_start(self) -> None:
        if self._cure and Path(self._cure).exists():  # noqa: ASYNC240
            await super().on_start()
            return
        self.note("refuse")
        match self._how:
            case "raise":
                raise RuntimeError("stillborn")
            case "exit":
                sys.exit(3)
            case "hang":
                await asyncio.sleep(FOR_EVER)
            case "decline":
                await self.stop()


class _Now(Event):
    pass


class Quitter(Obedient):
    """Quits by itself `after` so many seconds, in the ways of `Quit`."""

    def __init__(self, how: HowToQuit = "stop", code: int = 0, after: float = 0.0, **more: str) -> None:
        super().__init__(**more)
        self._how, self._code, self._after = how, code, after

    async def on_start(self) -> None:
        await super().on_start()
        self.after(self._after, _Now())

    @on
    async def now(self, msg: _Now) -> None:
        await quit(self, self._how, self._code)


class Work(Request[str]):
    """Keep busy, for `seconds` where that can be said.

    "wait" awaits, "block" blocks the event loop in a sleep; "loop" computes in Python and "c_call" inside one call that keeps the
    interpreter's lock, both for ever; "memory" takes `mib` of memory and holds it.
    """

    what: Literal["wait", "block", "loop", "c_call", "memory"]
    seconds: float = FOR_EVER
    mib: int = 0


class WorkInThread(Request[str]):
    """The same as `Work` "block", in a handler with `@on(thread=True)`."""

    seconds: float = FOR_EVER


class Hog(Obedient):
    """Takes what it is told to take: time, processor, memory."""

    def __init__(self, **more: str) -> None:
        super().__init__(**more)
        self._held: list[Any] = []

    @on
    async def work(self, msg: Work) -> str:
        match msg.what:
            case "wait":
                await asyncio.sleep(msg.seconds)
            case "block":
                time.sleep(msg.seconds)  # noqa: ASYNC251 - that is what it is for
            case "loop":
                while True:
                    pass
            case "c_call":
                collections.deque(itertools.repeat(None), maxlen=0)
            case "memory":
                for _ in range(msg.mib):
                    self._held.append(b"\1" * 2**20)  # written to, so that it is there
        return "done"

    @on(thread=True)
    def work_in_thread(self, msg: WorkInThread) -> str:
        time.sleep(msg.seconds)
        return "done"


class Offspring(Request[list[int]]):
    """The processes that it has started, by pid."""


class Forker(Obedient):
    """Starts processes that outlive their welcome: "plain" in its own group, "session" in one of their own, "daemon" forked twice."""

    def __init__(self, kinds: list[Literal["plain", "session", "daemon"]], **more: str) -> None:
        super().__init__(**more)
        self._kinds = kinds
        self._pids: list[int] = []

    async def on_start(self) -> None:
        for kind in self._kinds:
            if kind == "daemon":
                self._pids.append(_daemon())
            else:
                sleeper = subprocess.Popen(["sleep", "3600"], start_new_session=kind == "session")  # noqa: ASYNC220
                self._pids.append(sleeper.pid)
        await super().on_start()

    @on
    async def offspring(self, msg: Offspring) -> list[int]:
        return self._pids


def _daemon() -> int:
    """As a classical daemon does: two forks with a new session in between, nothing open, the parent gone; its pid."""
    told, tell = os.pipe()
    between = os.fork()
    if between == 0:
        os.setsid()
        daemon = os.fork()
        if daemon:
            os.write(tell, str(daemon).encode())
            os._exit(0)
        os.closerange(0, 64)
        time.sleep(FOR_EVER)
        os._exit(0)
    os.waitpid(between, 0)
    os.close(tell)
    with open(told, "rb") as file:
        return int(file.read(20))
