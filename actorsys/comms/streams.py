"""How do the parts of an answer travel between nodes? The words on the wire, and the reader's side.

    request       agents.request.{to}        metadata.stream = true, or {"to": subject} for the parts
    opening       its reply subject          a response, null, {"control": subject, "window": 256}: the handler begins
    parts         that subject, or `to`      responses, {"seq": n, "cost": units}, from 0; the first has `control`, too
    end           there                      a response, null, {"end": true, "seq": number of parts}; or an error
    credit        the control subject        {"credit": units}, as parts are read; 0 says that the reader is still there
    close         the control subject        {"close": true}

All of it in `metadata.stream` of an envelope, but for the last two, which are bare JSON. A part costs one unit and one more for each
4096 bytes; at most a window of them is under way. Who has begun twice, because its process died, says `seq` 0 twice.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct

from ..bus import envelope, subjects
from ..bus.base import Incoming
from ..bus.envelope import Envelope
from ..bus.nats import NatsBus
from ..errors import ActorError, AgentDown, BadMessage, Unreachable
from ..mailbox.letter import STREAM_WINDOW
from ..mailbox.stream import Parts
from . import handoff
from .post import ENVELOPE_BYTES

STREAM = "stream"  # in metadata
ALIVE = 10.0  # seconds between two words of a reader that reads nothing; who sends gives up after three of them


class Control(Struct):
    """What a reader says to who sends."""

    credit: int = 0
    close: bool = False


def about(read: Envelope) -> dict[str, Any]:
    """What an envelope says of a stream."""
    found = read.metadata.get(STREAM)
    return found if isinstance(found, dict) else {}


class Inflow:
    """One stream from another node. `subject` is where its parts come, `asked` the request, once it is made."""

    def __init__(self, inflows: "Inflows", subject: str, asked: Envelope, decode: Callable[[Any], Any]) -> None:
        self.parts = Parts(decode, self._give, self._forget)
        self._inflows = inflows
        self._subject = subject
        self._asked = asked
        self._control = ""
        self._unread = 0  # units
        self._alive: asyncio.TimerHandle | None = None

    def opened(self, read: Envelope) -> None:
        """The answer to the request: the handler begins. One that knows no streams has answered, in one part."""
        if STREAM in read.metadata:
            self._controlled(read)
        else:
            self.parts.put(read.content, 1)
            self.end()

    def heard(self, incoming: Incoming) -> None:
        try:
            read = envelope.decode(incoming.payload, limit=ENVELOPE_BYTES)
            error = envelope.failure(read).error() if read.message_type == "error" else None
        except BadMessage as problem:
            self.end(problem)
            return
        said, last = about(read), self.parts.last
        number = said.get("seq")
        if error is not None:
            self.end(error)
        elif number == 0 and last and not said.get("end"):
            self.end(self._lost("it died, and has begun again", last))
        elif self._unread >= STREAM_WINDOW and not said.get("end"):
            self.end(self._lost("it sends more than it has credit for", last))
        elif number != last:
            self.end(self._lost("a part was lost", last))
        elif said.get("end"):
            self.end()
        else:
            self._controlled(read)
            cost = said.get("cost")
            self._unread += (units := cost if type(cost) is int and cost > 0 else 1)
            self.parts.put(read.content, units)

    def end(self, error: ActorError | None = None) -> None:
        """Nothing more comes."""
        self.parts.end(error)
        self._leave()

    def _lost(self, why: str, last: int) -> AgentDown:
        text = f"the stream of {self._asked.to_agent!r} broke off after {last} parts: {why}. The rest of it is lost."
        self._inflows.publish(subjects.direct(self._asked.to_agent or ""), envelope.encode(handoff.cancel(self._asked)))
        return AgentDown(text, reason=why, may_have_run=True)

    def _controlled(self, read: Envelope) -> None:
        control = about(read).get("control")
        if isinstance(control, str) and control.startswith("_INBOX"):
            self._control = control
        if self._alive is None and not self.parts.is_over:
            self._say_alive()

    def _say_alive(self) -> None:
        if self._alive is not None and self._inflows.is_connected:
            self._give(0)
        self._alive = asyncio.get_running_loop().call_later(ALIVE, self._say_alive)

    def _give(self, units: int) -> None:
        self._unread -= units
        if self._control:
            self._inflows.publish(self._control, msgspec.json.encode(Control(units)))

    def _forget(self) -> None:
        self._leave()
        self._inflows.publish(subjects.direct(self._asked.to_agent or ""), envelope.encode(handoff.cancel(self._asked)))

    def _leave(self) -> None:
        self._inflows.open.pop(self._subject, None)
        if self._alive is not None:
            self._alive.cancel()


class Inflows:
    """All streams that this process reads from other nodes, by the subjects on which their parts come."""

    def __init__(self, bus: NatsBus) -> None:
        self.open: dict[str, Inflow] = {}
        self._bus = bus
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_connected(self) -> bool:
        return self._bus.is_connected

    def begin(self, subject: str, asked: Envelope, decode: Callable[[Any], Any]) -> Inflow:
        inflow = self.open[subject] = Inflow(self, subject, asked, decode)
        return inflow

    def stray(self, incoming: Incoming) -> None:
        """A message for nobody here: if a handler begins a stream that was left, it did not hear of that, and is told."""
        if not incoming.payload.startswith(b"{"):
            return
        with suppress(BadMessage):
            control = about(envelope.decode(incoming.payload, limit=ENVELOPE_BYTES)).get("control")
            if isinstance(control, str) and control.startswith("_INBOX"):
                self.publish(control, msgspec.json.encode(Control(close=True)))

    def publish(self, subject: str, payload: bytes) -> None:
        """Send when the loop turns, or when there is a connection again."""
        task = asyncio.get_running_loop().create_task(self._publish(subject, payload))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _publish(self, subject: str, payload: bytes) -> None:
        with suppress(ActorError):  # no room to keep it: who sends gives up by itself
            await self._bus.publish(subject, payload)

    async def close(self) -> None:
        """End them all; what was said last is with the bus on return."""
        for inflow in list(self.open.values()):
            inflow.end(Unreachable("the connection to NATS on which the stream came is being closed."))
        await asyncio.gather(*self._tasks, return_exceptions=True)
