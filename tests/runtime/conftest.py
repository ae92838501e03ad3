"""A runtime in the test's own process: its pipe is real, and the test sits at the supervisor's end of it."""

import asyncio
import contextlib
import multiprocessing

import pytest

from actorsys.mailbox.kinds import packed
from actorsys.mailbox.letter import ASK, HOST, TELL, Letter
from actorsys.mailbox.pipe import Pipe
from actorsys.memory.base import Restored
from actorsys.memory.in_memory import InMemory
from actorsys.runtime.loop import Runtime
from actorsys.runtime.routes import rest_routes, routes
from actorsys.spec import Assignment
from actorsys.testing.waiting import eventually


class Durable(InMemory):
    """Keeps its commits, as a durable backend would."""

    is_durable = True

    def __init__(self):
        super().__init__()
        self.commits = []
        self.gone = []
        self.error = None
        self.refused = 0

    async def commit(self, changes, message_ids, frame):
        if self.error is not None:
            self.refused += 1
            raise self.error
        await asyncio.sleep(0)
        self.commits.append((dict(changes), tuple(message_ids), bytes(frame)))
        await super().commit(changes, message_ids, frame)

    def confirmed(self, message_ids):
        self.gone.append(tuple(message_ids))


class Rig:
    def __init__(self, cls, *, memory=None, restored=None, serve=True, **options):
        theirs, ours = multiprocessing.Pipe()
        self.frames = []
        self._supervisor = Pipe(ours, self.frames.extend, lambda error: None)
        self.pipe = Pipe(theirs, lambda frames: None, lambda error: None)
        assignment = Assignment(name="a/0", shown="a", type="", args={}, incarnation=1, run="run", **options)
        self.memory = memory or InMemory()
        self.runtime = Runtime(assignment, self.pipe, self.memory, restored or Restored({}))
        self.agent = cls._born(self.runtime, {})
        if serve:
            self.runtime.serve(routes(self.agent, cls.__handlers__), rest_routes(self.agent))
        self._next = 1

    def letter(self, message, kind=ASK, **more):
        number, self._next = self._next, self._next + 1
        type, payload = packed(message)
        return Letter(kind, number, "a", HOST, type, payload, **more)

    def ask(self, message, **more):
        """Deliver an ask; its id."""
        letter = self.letter(message, **more)
        self.runtime.deliver([letter])
        return letter.id

    def tell(self, message, **more):
        return self.ask(message, kind=TELL, **more)

    async def acked(self, *ids):
        """The frames so far, once these letters are acknowledged."""
        await eventually(lambda: set(ids) <= {number for frame in self.frames for number in frame.acks})
        return self.frames

    @property
    def letters(self):
        return [letter for frame in self.frames for letter in frame.letters]

    @property
    def notes(self):
        return [note for frame in self.frames for note in frame.notes]

    async def close(self):
        await self.runtime.quiesce(0)
        self.pipe.close()
        self._supervisor.close()


@pytest.fixture
def check():
    """Run a test body with a rig of an agent class."""

    def checker(cls, body, **options):
        async def main():
            async with asyncio.timeout(30), contextlib.AsyncExitStack() as exits:
                rig = Rig(cls, **options)
                exits.push_async_callback(rig.close)
                await body(rig)

        asyncio.run(main())

    return checker


@pytest.fixture
def durable():
    return Durable()
