"""Agents for the tests of custody: they die, write nonsense and wait at exact points."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from system_agents import Note, Notes, Pid

from actorsys import Agent, Event, Request, on
from actorsys.mailbox.codec import encode
from actorsys.mailbox.framing import PREFIX
from actorsys.mailbox.letter import TELL, Frame, Letter
from actorsys.mailbox.outbox import Outbox
from actorsys.mailbox.pipe import Pipe
from actorsys.memory.sqlite import Sqlite
from actorsys.runtime.loop import Runtime


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Next(Request[int]):
    """Count; the process may die of it."""

    deadly: bool = False


class Teller(Agent):
    """Counts in memory."""

    count = 0

    @on
    async def next(self, msg: Next) -> int:
        if msg.deadly:
            die()
        self.count += 1
        return self.count

    @on
    async def pid(self, msg: Pid) -> int:
        return os.getpid()


class Late(Agent):
    """Is ready when the file is there; notes what it is told. The note "die" kills it the first time."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    async def on_start(self) -> None:
        while not self.path.exists():  # noqa: ASYNC110  # another process makes it
            await asyncio.sleep(0.005)

    @on
    async def note(self, msg: Note) -> None:
        if msg.text == "die" and not (died := self.path.with_suffix(".died")).exists():  # a local file
            died.touch()
            die()
        self.state["notes"] = [*self.state.get("notes", []), msg.text]

    @on
    async def notes(self, msg: Notes) -> list[str]:
        return self.state.get("notes", [])

    @on
    async def pid(self, msg: Pid) -> int:
        return os.getpid()


class Hold(Request[str]):
    """Wait for ever; say whether that was cancelled."""


class Holder(Agent):
    def __init__(self) -> None:
        self.cancelled = 0

    @on
    async def hold(self, msg: Hold) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return "never"

    @on
    async def next(self, msg: Next) -> int:
        return self.cancelled


class AskTo(Request[str]):
    to: str


class Asker(Agent):
    @on
    async def ask_to(self, msg: AskTo) -> str:
        return await self.agent(msg.to).ask(Hold())

    @on
    async def pid(self, msg: Pid) -> int:
        return os.getpid()


class Exchange(Request[int]):
    """Tell `to` so many notes, and wait at most so long for room."""

    to: str
    count: int
    patience: float


class Pusher(Agent):
    @on
    async def exchange(self, msg: Exchange) -> int:
        Outbox.wait_room.__defaults__ = (msg.patience,)
        for number in range(msg.count):
            await self.agent(msg.to).tell(Note(str(number)))
        return msg.count

    @on
    async def note(self, msg: Note) -> None:
        pass

    @on
    async def pid(self, msg: Pid) -> int:
        return os.getpid()


# --- numbered messages


class Numbered(Event):
    sender: str
    number: int


class Send(Request[int]):
    to: str
    count: int


class Numbers(Request[dict[str, int]]):
    pass


class Wrong(Request[list[str]]):
    pass


class NumberSender(Agent):
    @on
    async def send(self, msg: Send) -> int:
        to = self.agent(msg.to)
        for number in range(msg.count):
            await to.tell(Numbered(self.name, number))
        return msg.count


class NumberSink(Agent):
    """The next number of each sender is in the state; any other than that is wrong."""

    @on
    async def numbered(self, msg: Numbered) -> None:
        expected = self.state.get(msg.sender, 0)
        if msg.number != expected:
            self.state["wrong"] = [*self.state.get("wrong", []), f"{msg.sender} {msg.number} instead of {expected}"][:20]
        self.state[msg.sender] = msg.number + 1

    @on
    async def numbers(self, msg: Numbers) -> dict[str, int]:
        return {key: value for key, value in self.state.items() if key != "wrong"}

    @on
    async def wrong(self, msg: Wrong) -> list[str]:
        return self.state.get("wrong", [])

    @on
    async def pid(self, msg: Pid) -> int:
        return os.getpid()


# --- a death at an exact point


class Item(Request[int]):
    n: int


class Once:
    """True once, over all lives."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self) -> bool:
        try:
            self.path.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


class DyingSqlite(Sqlite):
    """Kills its process before or after the commit of a certain item; the agent says which and when."""

    when = ""
    is_due = staticmethod(lambda: False)

    async def commit(self, changes: Mapping[str, bytes | None], message_ids: Sequence[str], frame: bytes) -> None:
        if self.when == "before the commit" and message_ids and self.is_due():
            die()
        await super().commit(changes, message_ids, frame)
        if self.when == "after the commit" and message_ids and self.is_due():
            die()


class Mortal(Agent):
    """Adds items to its state and tells a diary of each; dies once, at `point`, with item 2."""

    def __init__(self, point: str, flag: str) -> None:
        self.point = point
        self.once = Once(Path(flag))
        self.has_come = False

    async def on_start(self) -> None:
        deliver, send_bytes = Runtime.deliver, Pipe.send_bytes

        def dying_deliver(runtime: Runtime, letters: list[Letter]) -> None:
            for letter in letters:
                if letter.type.endswith(":Item") and letter.payload.endswith(b"\x02") and self.once():
                    die()
            deliver(runtime, letters)

        def dying_send(pipe: Pipe, data: Any) -> None:
            if self.point == "before the frame" and self.has_come and self.once():
                die()
            send_bytes(pipe, data)
            if self.point == "after the frame" and self.has_come and self.once():
                die()

        if self.point == "after delivery":
            Runtime.deliver = dying_deliver  # type: ignore[method-assign]
        elif self.point.endswith("the frame"):
            Pipe.send_bytes = dying_send  # type: ignore[method-assign]
        elif self.point.endswith("the commit"):
            DyingSqlite.when = self.point
            DyingSqlite.is_due = staticmethod(lambda: self.has_come and self.once())

    @on
    async def item(self, msg: Item) -> int:
        if msg.n == 2 and self.point == "in the handler" and self.once():
            die()
        self.state["items"] = [*self.state.get("items", []), msg.n]
        await self.agent("diary").tell(Note(str(msg.n)))
        if msg.n == 2 and self.point == "while it waits":
            await asyncio.sleep(0.01)  # what it sent has left
            if self.once():
                die()
        self.has_come = self.has_come or msg.n == 2
        return msg.n * 10

    @on
    async def pid(self, msg: Pid) -> int:
        return os.getpid()


# --- nonsense


class WriteRaw(Event):
    what: str


NONSENSE = {
    "garbage": b"\xff" * 100,
    "a frame of garbage": PREFIX.pack(40) + b"\xc1" * 40,
    "a length of 64 MiB": PREFIX.pack(64 * 2**20),
    "half a frame": PREFIX.pack(100) + b"half",
    "a letter that is none": PREFIX.pack(4) + b"\x92\x90\x91\x05",
    "a priority that is none": b"",  # made below
    "nested a million deep": PREFIX.pack(10**6) + b"\x91" * 10**6,
}


class Vandal(Agent):
    @on
    async def write_raw(self, msg: WriteRaw) -> None:
        pipe: Pipe = self._runtime.pipe
        if msg.what == "a priority that is none":
            for priority in (0, 6, -1, 2**40):
                pipe.send(Frame(letters=[Letter(0, 0, "bystander", "", "", b"\xc0", priority)]))
        else:
            pipe.send_bytes(NONSENSE[msg.what])
        if msg.what == "half a frame":
            die()
        await asyncio.Event().wait()

    @on
    async def pid(self, msg: Pid) -> int:
        return os.getpid()


class Flood(Event):
    """Send to `to` without end, whatever its mailbox says."""

    to: str


class Flooder(Agent):
    @on
    async def flood(self, msg: Flood) -> None:
        sending = self._runtime.sending
        while True:
            for _ in range(500):
                sending.post(Letter(TELL, 0, msg.to, "", "", encode({"water": "x" * 200})), None)
            sending.flush()
            await asyncio.sleep(0)

    @on
    async def pid(self, msg: Pid) -> int:
        return os.getpid()


class Stuck(Agent):
    @on
    async def flood(self, msg: Flood) -> None:
        await asyncio.Event().wait()
