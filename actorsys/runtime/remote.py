"""The agent's own NATS connection: what arrives on it goes into its mailbox first, and is answered by whoever handles it."""

from contextlib import suppress

from msgspec import convert

from ..bus import subjects
from ..bus.counters import Often
from ..bus.nats import NatsBus
from ..bus.nats_options import NatsOptions
from ..clock import now_ns
from ..comms.answers import answer
from ..comms.calls import Calls, Where
from ..comms.micro import Endpoint, Micro, about
from ..comms.post import Post
from ..comms.reception import Reception
from ..errors import ActorError
from ..mailbox.letter import Bus, Frame, Letter
from ..messages import Failure
from ..names import base, token
from ..units import SECOND_NS
from .loop import Runtime
from .remote_flow import Outflows

FIRST_WAIT = 2.0  # seconds from the start in which answers wait for the connection


class Remote:
    """Opened once the agent is ready; never blocks it, and never fails because there is no server."""

    def __init__(self, runtime: Runtime) -> None:
        assignment = runtime.assignment
        name = base(assignment.name)
        self._runtime = runtime
        self._began = now_ns()
        self._inbox = f"_INBOX_{token(runtime.name).replace('/', '-')}"
        self.bus = NatsBus(convert(assignment.nats, NatsOptions), name=f"agent {runtime.name}", inbox_prefix=self._inbox)
        self.bus.watch(self._changed)
        self._post = Post(self.bus, name)
        self._reception = Reception(self.bus, runtime, name=name, to=assignment.shown, run=assignment.instance)
        self._asked = Endpoint("request", subjects.request(name), subjects.queue(name))
        self._told = Endpoint("direct", subjects.direct(name), subjects.queue(name))
        said = about(name, assignment.node, assignment.capabilities, "running", assignment.instance)
        self._micro = Micro(self.bus, [self._asked, self._told], lambda: said, description=assignment.description)

    async def start(self) -> None:
        runtime = self._runtime
        assignment = runtime.assignment
        runtime.bus = self.bus
        runtime.often = Often(1.0)
        runtime.remote_reply = self._answer
        outflows = Outflows(
            self.bus, self._post, self._inbox, ready=self._wait_first, cancel=runtime.cancel, count=self._streamed
        )
        runtime.remote_flow = outflows.make
        self._calls = runtime.far = Calls(
            self.bus,
            sender=base(assignment.name),
            node=assignment.node,
            run=assignment.instance,
            inbox=self._inbox,
            where=self._where,
        )
        await self.bus.start()
        await self._reception.open()
        await self._micro.start()

    async def close(self, timeout: float) -> None:
        """Take nothing more, send what waits, within `timeout` seconds."""
        await self._calls.inflows.close()
        await self.bus.drain(timeout)
        self._runtime.flush()  # what came last is posted, but nobody may turn the loop for it

    async def _answer(self, letter: Letter, payload: bytes | None, failure: Failure | None) -> None:
        """A handler is done with a letter that came over NATS; on return its answer, if one is wanted, has left this process."""
        headers = letter.headers or {}
        error = failure.error() if failure is not None else None
        endpoint = self._asked if headers["kind"] == "request" else self._told
        endpoint.count(now_ns() - headers["arrived"], error)
        if not self.bus.connects:
            await self._wait_first()
        if await answer(self._post, letter, payload, error):
            await self.bus.push()

    def _streamed(self, letter: Letter) -> None:
        self._asked.count(now_ns() - (letter.headers or {})["arrived"], None)

    async def _wait_first(self) -> None:
        """What was handed on from an earlier life comes before there is a connection. An answer kept until then would be lost with
        this process, but its letter is acknowledged: nobody would answer again."""
        if not self.bus.connects:
            with suppress(ActorError):
                await self.bus.wait_connected(max(0.0, FIRST_WAIT - (now_ns() - self._began) / SECOND_NS))

    async def _where(self, name: str) -> Where:
        return convert(await self._runtime.command("where", {"name": name}), Where)

    def _changed(self, state: str) -> None:
        self._runtime.pipe.send(Frame(notes=[Bus(state)]))
