"""Agents for the system tests; each does one thing that a test needs."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from actorsys import Agent, Event, Request, on


class Add(Request[int]):
    n: int
    seconds: float = 0.0


class Total(Request[int]):
    pass


class Pid(Request[int]):
    pass


class Lose(Request[int]):
    """Change the state, then raise."""

    n: int


class Raise(Event):
    text: str = "no luck"


class Exit(Event):
    code: int = 0


class Die(Event):
    """SIGKILL to itself."""


class Print(Event):
    text: str


class Log(Event):
    text: str


class Note(Event):
    text: str


class Notes(Request[list[str]]):
    pass


class Counter(Agent):
    async def on_start(self) -> None:
        self.state.setdefault("total", 0)

    @on
    async def add(self, msg: Add) -> int:
        if msg.seconds:
            await asyncio.sleep(msg.seconds)
        self.state["total"] += msg.n
        return self.state["total"]

    @on
    async def total(self, msg: Total) -> int:
        return self.state["total"]

    @on
    async def pid(self, msg: Pid) -> int:
        return os.getpid()

    @on
    async def lose(self, msg: Lose) -> int:
        self.state["total"] += msg.n
        raise ValueError(f"{msg.n} is lost")

    @on
    async def fail(self, msg: Raise) -> None:
        self.state["total"] += 1000
        raise ValueError(msg.text)

    @on
    async def exit(self, msg: Exit) -> None:
        self.state["total"] += 1000
        sys.exit(msg.code)

    @on
    async def die(self, msg: Die) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @on
    async def print(self, msg: Print) -> None:
        print(msg.text)

    @on
    async def write_log(self, msg: Log) -> None:
        self.log.warning("%s", msg.text)


class Diary(Agent):
    """Keeps what it is told, in the order it was told."""

    @on
    async def note(self, msg: Note) -> None:
        self.state["notes"] = [*self.state.get("notes", []), msg.text]

    @on
    async def notes(self, msg: Notes) -> list[str]:
        return self.state.get("notes", [])

    @on
    async def die(self, msg: Die) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Meet(Request[str]):
    """Wait until `count` handlers run at once."""

    count: int


class Meeting(Agent):
    def __init__(self) -> None:
        self.here = 0
        self.all_here = asyncio.Event()

    @on
    async def meet(self, msg: Meet) -> str:
        self.here += 1
        if self.here == msg.count:
            self.all_here.set()
        await self.all_here.wait()
        return "met"

    @on
    async def pid(self, msg: Pid) -> int:
        return os.getpid()


class Tick(Event):
    pass


class Clock(Agent):
    """Ticks; `state["ticks"]` are those of all lives."""

    def __init__(self, period: float = 0.01) -> None:
        self.period = period
        self.ticks = 0

    async def on_start(self) -> None:
        self.every(self.period, Tick())

    @on
    async def tick(self, msg: Tick) -> None:
        self.ticks += 1
        self.state["ticks"] = self.state.get("ticks", 0) + 1

    @on
    async def total(self, msg: Total) -> int:
        return self.ticks

    @on
    async def pid(self, msg: Pid) -> int:
        return os.getpid()


class Relay(Request[int]):
    """Have `to` add up, and tell it so much more afterwards."""

    to: str
    n: int


class Round(Request[str]):
    """Ask `to` to ask `then`, and so on."""

    to: list[str]


class Flood(Request[int]):
    """Tell `to` so many notes; how many were sent when all were, or the error came."""

    to: str
    count: int


class Friend(Agent):
    @on
    async def relay(self, msg: Relay) -> int:
        total = await self.agent(msg.to).ask(Add(msg.n))
        await self.agent(msg.to).tell(Add(msg.n))
        return total

    @on
    async def round(self, msg: Round) -> str:
        if not msg.to:
            return self.name
        return await self.agent(msg.to[0]).ask(Round(msg.to[1:]), timeout=20)

    @on
    async def flood(self, msg: Flood) -> int:
        for number in range(msg.count):
            await self.agent(msg.to).tell(Note(str(number)))
        return msg.count


async def _there(path: Path) -> None:
    while not path.exists():  # noqa: ASYNC110, ASYNC240  # another process makes it
        await asyncio.sleep(0.005)


class Gate(Agent):
    """Handles nothing until the file is there."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    @on
    async def note(self, msg: Note) -> None:
        await _there(self.path)
        self.state["notes"] = [*self.state.get("notes", []), msg.text]

    @on
    async def notes(self, msg: Notes) -> list[str]:
        return self.state.get("notes", [])


class SlowStart(Agent):
    """After its first life it needs the file to be ready; `lives`: those it had before."""

    def __init__(self, path: str, lives: int = 0) -> None:
        self.path = Path(path)
        self.lives = lives

    async def on_start(self) -> None:
        lives = self.state["lives"] = self.state.get("lives", self.lives) + 1
        if lives > 1:
            await _there(self.path)

    @on
    async def pid(self, msg: Pid) -> int:
        return os.getpid()


class BadStart(Agent):
    async def on_start(self) -> None:
        raise RuntimeError("cannot start today")


class Last(Agent):
    """Says goodbye into a file, and may end itself."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    async def on_stop(self, reason: str) -> None:
        self.path.write_text(reason)

    @on
    async def exit(self, msg: Exit) -> None:
        await self.stop("done")

    @on
    async def pid(self, msg: Pid) -> int:
        return os.getpid()


class Mess(Agent):
    """Leaves behind what a bad agent leaves behind."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    async def on_start(self) -> None:
        if self.kind == "child":
            # In a session of its own, so that a signal to the agent's group does not reach it.
            subprocess.Popen(["sleep", "300"], start_new_session=True)  # noqa: ASYNC220  # a misbehaving agent
        if self.kind == "loop":
            asyncio.get_running_loop().call_later(0.05, _forever)


def _forever() -> None:
    while True:
        pass


class Plain(Agent):
    """No handlers: whatever comes is answered as it came."""

    async def receive(self, message):
        return {"got": message.payload, "from": message.sender}


class Find(Request[list[str]]):
    capability: str


class Finder(Agent):
    @on
    async def search(self, msg: Find) -> list[str]:
        return [ref.name for ref in await self.find(capability=msg.capability)]


class Imported(Request[list[str]]):
    """What was imported since it was ready."""


class Importer(Agent):
    async def on_start(self) -> None:
        self.before = set(sys.modules)

    @on
    async def imported(self, msg: Imported) -> list[str]:
        return sorted(set(sys.modules) - self.before)
