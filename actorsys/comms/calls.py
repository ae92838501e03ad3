"""How does what is asked, told, handed over or broadcast reach the agents of other nodes?

Over the caller's own NATS connection, with the same errors as on one node. A tell is a request too: its answer says that the letter
is in custody over there. Nobody listening means that there is no such agent, unless it was heard of: then it has a little time to
come back before it counts as down.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from secrets import token_hex
from typing import Any

from msgspec import Struct, structs

from ..bus import envelope, stamp, subjects
from ..bus.base import Incoming, Subscription
from ..bus.envelope import Envelope
from ..bus.nats import NatsBus
from ..clock import now_ns
from ..errors import ActorError, AgentDown, AskTimeout, UnknownAgent, Unreachable
from ..llm.breaker import Breaker
from ..mailbox.letter import FAIL_WHEN_DOWN, LENIENT, Letter
from ..mailbox.outbox import ROOM_TIMEOUT
from ..mailbox.stream import Parts
from ..names import NAME_RULE, base, is_name
from ..units import SECOND_NS, format_seconds
from . import handoff, translate
from .post import ENVELOPE_BYTES, WAITS, Post
from .streams import STREAM, Inflows

CONNECT_WAIT = 0.5  # seconds that a call waits for a connection, beyond the longest wait between two tries to make one
VERDICT = 1.0  # seconds beyond the time for which a message may wait for room, until who has it says that there was none
GRACE = 0.5  # seconds in which an agent that was heard of may begin to listen again
POLL = 0.05
TRIES = 3  # of an ask that may be repeated
HELD = 3.0  # seconds for which a message that waits for room is not sent again; who has it says so each second, while it lives
MAX_NAMES = 1000  # that did not answer, or that are known to tell repetitions apart


class Where(Struct, frozen=True):
    """What the supervisor knows of a name: it lives here; it was heard of elsewhere; or what was probably meant."""

    here: bool
    heard: bool = False
    hint: str = ""
    is_ours: bool = False  # announced as we do: whoever has the name confirms, and tells repetitions apart


class _Sent(Struct):
    """A message that is sent again, but not before `next`, until it is confirmed."""

    to: str
    next: int = 0


class Calls:
    """`sender` and `node` say who calls, `run` is the id of this life of the node."""

    def __init__(
        self, bus: NatsBus, *, sender: str, node: str, run: str, inbox: str, where: Callable[[str], Awaitable[Where]]
    ) -> None:
        self._bus = bus
        self._inbox = f"{inbox}.{token_hex(8)}"
        self._confirms: Subscription | None = None
        self._listening = asyncio.Lock()
        self._unconfirmed: dict[str, _Sent] = {}  # by the subject of its confirmation
        self._apart: dict[str, None] = {}  # names that tell repetitions apart
        self._number = 0
        self._sender = sender
        self._node = node
        self._run = run
        self._where = where
        self.inflows = Inflows(bus)
        self.breakers: dict[str, Breaker] = {}
        self.retries = 0

    async def tell(self, letter: Letter, trace: str) -> None:
        """Return when the letter is in custody over there. Raises UnknownAgent, AgentDown, MailboxFull, Unreachable, AskTimeout."""
        _check(letter.to)
        content, metadata = self._said(letter, trace)
        made = envelope.message(self._sender, letter.to, content, stamp.fresh(), metadata=metadata, priority=letter.priority)
        await self._deliver(made)

    async def ask(self, letter: Letter, trace: str, expected: Any, *, idempotent: bool) -> Any:
        """The reply, as an `expected`. Raises what an ask raises, and Unreachable."""
        _check(letter.to)
        content, metadata = self._said(letter, trace)
        if letter.chain:
            metadata["chain"] = translate.chain_of(letter.chain, self._run)

        async def once(timeout: float) -> Any:
            about = metadata | {"timeout": round(timeout, 3)}
            made = envelope.request(self._sender, letter.to, content, stamp.fresh(), metadata=about, priority=letter.priority)
            return translate.reply_value((await self._guarded(letter.to, made, timeout)).content, expected)

        timeout = (letter.deadline - now_ns()) / SECOND_NS
        return await (self._repeated(once, timeout) if idempotent else once(timeout))

    async def stream(self, letter: Letter, trace: str, expected: Any) -> Parts:
        """The answer in parts, once its handler begins. Raises what `ask` raises."""
        _check(letter.to)
        content, metadata = self._said(letter, trace)
        self._number += 1
        subject = f"{self._inbox}.{self._number}"
        timeout = (letter.deadline - now_ns()) / SECOND_NS
        metadata |= {"timeout": round(timeout, 3), "chain": translate.chain_of(letter.chain, self._run), STREAM: {"to": subject}}
        made = envelope.request(self._sender, letter.to, content, stamp.fresh(), metadata=metadata, priority=letter.priority)
        inflow = self.inflows.begin(subject, made, lambda part: translate.reply_value(part, expected))
        try:
            inflow.opened(await self._guarded(letter.to, made, timeout))
        except AskTimeout:
            inflow.parts.close()  # its handler may have begun, or begin yet
            raise
        except BaseException:
            inflow.end()
            raise
        return inflow.parts

    async def hand_over(self, letter: Letter, trace: str, metadata: dict[str, Any] | None, *, key: str) -> str:
        """Give a task to an agent of any node, this one included; its id, the same for the same `key`. Raises what `tell` raises."""
        _check(letter.to)
        content, about = self._said(letter, trace)
        made = handoff.record(self._sender, letter.to, content, stamp.of(key), metadata={**(metadata or {}), **about})
        return await handoff.hand_over(Post(self._bus, self._sender), made, self._deliver)

    async def broadcast(self, letter: Letter, trace: str, metadata: dict[str, Any] | None, *, key: str) -> str:
        """Tell every agent of every node; its id, the same for the same `key`. Raises Unreachable when no more can wait for NATS."""
        content, about = self._said(letter, trace)
        made = envelope.broadcast(self._sender, content, stamp.of(key), metadata={**(metadata or {}), **about})
        await self._bus.publish(subjects.ALL, envelope.encode(made))
        return made.message_id

    def _said(self, letter: Letter, trace: str) -> tuple[Any, dict[str, Any]]:
        """Content and metadata of the envelope for a letter."""
        content, about = translate.said(letter.type, letter.payload)
        about |= {"node": self._node, "trace": trace or stamp.fresh().message_id}
        if letter.flags & LENIENT:
            about["lenient"] = True
        if letter.flags & FAIL_WHEN_DOWN:
            about["when_down"] = "fail"
        return content, about

    async def _repeated(self, once: Callable[[float], Awaitable[Any]], timeout: float) -> Any:
        """Up to three tries within `timeout` seconds; each but the last gets half of the time that is left."""
        import tenacity  # of the agents that never ask so, none pays for it

        until = now_ns() + int(timeout * SECOND_NS)
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(TRIES) | tenacity.stop_after_delay(timeout),
            wait=tenacity.wait_random_exponential(multiplier=POLL, max=1.0),
            retry=tenacity.retry_if_exception_type((AskTimeout, AgentDown, Unreachable)),
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                number = attempt.retry_state.attempt_number
                self.retries += number > 1
                left = max((until - now_ns()) / SECOND_NS, 0.001)
                return await once(left if number == TRIES else left / 2)
        raise AssertionError("tenacity raises the last error")

    async def _guarded(self, to: str, asked: Envelope, timeout: float) -> Envelope:
        """Ask, unless the last asks to that name have all failed."""
        breaker = self.breakers.get(to)
        if breaker is not None and not breaker.allows(now := now_ns()):
            left = format_seconds(breaker.left_ns(now) / SECOND_NS) if breaker.left_ns(now) else "as long as another ask tries it"
            text = f"{to!r} is not asked: the last {breaker.failures} asks got no answer. It is left alone for {left}."
            raise AgentDown(text, reason="it did not answer", may_have_run=False)
        connects = self._bus.connects
        try:
            answer = await self._call(subjects.request(to), to, asked, timeout)
        except (AskTimeout, AgentDown):
            if self._bus.is_connected and self._bus.connects == connects:
                self._failing(to).failed(now_ns())
            else:
                self._abandoned(to)  # it may be ours that is down
            raise
        except asyncio.CancelledError:
            self._abandoned(to)
            if self._bus.is_connected:
                with suppress(ActorError):
                    await self._bus.publish(subjects.direct(to), envelope.encode(handoff.cancel(asked)))
            raise
        except ActorError:  # it was not asked
            self._abandoned(to)
            raise
        self.breakers.pop(to, None)  # whatever the answer says: it may hold the failure of an ask of its own
        return _answer(answer)

    def _failing(self, to: str) -> Breaker:
        """The breaker of a name; only one whose last ask failed has any."""
        if to not in self.breakers and len(self.breakers) >= MAX_NAMES:
            del self.breakers[next(iter(self.breakers))]
        return self.breakers.setdefault(to, Breaker())

    def _abandoned(self, to: str) -> None:
        if to in self.breakers:
            self.breakers[to].abandoned()

    def _confirmed(self, incoming: Incoming) -> None:
        if (inflow := self.inflows.open.get(incoming.subject)) is not None:
            inflow.heard(incoming)
            return
        sent = self._unconfirmed.get(incoming.subject)
        if sent is None:
            self.inflows.stray(incoming)
            return
        self._is_apart(sent.to)
        if incoming.payload == WAITS:
            sent.next = now_ns() + int(HELD * SECOND_NS)
        else:
            del self._unconfirmed[incoming.subject]

    def _is_due(self, confirm: str) -> bool | None:
        sent = self._unconfirmed.get(confirm)
        return None if sent is None else now_ns() >= sent.next

    def _is_apart(self, to: str) -> None:
        self._apart[to] = None
        if len(self._apart) > MAX_NAMES:
            del self._apart[next(iter(self._apart))]

    async def _tells_apart(self, to: str) -> bool:
        """Whether a message for that name may be sent again under its id; anyone else would take it for another one."""
        if to not in self._apart:
            where = await self._where(to)
            if where.here or where.is_ours:
                self._is_apart(to)
        return to in self._apart

    async def _deliver(self, made: Envelope) -> None:
        """Return when a direct message is in custody."""
        assert made.to_agent is not None
        _answer(await self._call(subjects.direct(made.to_agent), made.to_agent, made, ROOM_TIMEOUT + VERDICT))

    async def _call(self, subject: str, to: str, sent: Envelope, timeout: float) -> Incoming:
        """Send an envelope, to who tells repetitions apart again while it may not have arrived; its answer."""
        if self._confirms is None:
            async with self._listening:  # once: heard twice, a part would break its stream
                if self._confirms is None:
                    self._confirms = await self._bus.subscribe(f"{self._inbox}.*", self._confirmed)
        self._number += 1
        confirm = f"{self._inbox}.{self._number}"
        data = envelope.encode(structs.replace(sent, metadata={**sent.metadata, "confirm": confirm}))
        self._unconfirmed[confirm] = _Sent(to)
        try:
            again = (lambda: self._is_due(confirm)) if await self._tells_apart(to) else None
            return await self._request(subject, to, data, timeout, again)
        finally:
            self._unconfirmed.pop(confirm, None)

    async def _request(
        self, subject: str, to: str, data: bytes, timeout: float, again: Callable[[], bool | None] | None
    ) -> Incoming:
        began = now_ns()
        while (left := timeout - (now_ns() - began) / SECOND_NS) > 0:
            try:
                if not self._bus.is_connected:
                    await self._bus.wait_connected(min(self._bus.reconnect_max + CONNECT_WAIT, left))
                return await self._bus.request(subject, data, left, again=again)
            except Unreachable as error:
                where = await self._where(to)
                if where.here or where.heard:
                    raise
                text = f"no agent is named {to!r} on this node, and NATS cannot be asked for others: {error.message}{where.hint}"
                raise UnknownAgent(text) from None
            except AskTimeout:
                break
            except UnknownAgent:
                await self._missing(to, late=now_ns() - began > GRACE * SECOND_NS)
                await asyncio.sleep(POLL)
        raise AskTimeout(f"{to!r} did not answer within {format_seconds(timeout)}; its handler may still run or have run.")

    async def _missing(self, to: str, *, late: bool) -> None:
        """Nobody listens: raise, unless the agent may be about to come back."""
        where = await self._where(to)
        if not (where.here or where.heard):
            hint = where.hint or " `actorsys agents` lists who answers."
            raise UnknownAgent(f"no agent is named {to!r} on this node, and none answers to that name on NATS.{hint}")
        if late:
            if where.here:
                text = f"{to!r} does not listen on NATS. `actorsys ps` shows whether it is stopped, or has `nats = false`."
                raise AgentDown(text, reason="it does not listen on NATS", may_have_run=False)
            text = f"{to!r} was heard of on another node, but nobody answers to that name any more."
            raise AgentDown(text, reason="its node does not answer", may_have_run=False)


def _answer(incoming: Incoming) -> Envelope:
    """An answer. Raises what it says went wrong."""
    answer = envelope.decode(incoming.payload, limit=ENVELOPE_BYTES)
    if answer.message_type == "error":
        raise envelope.failure(answer).error()
    return answer


def _check(name: str) -> None:
    if not is_name(base(name)):
        raise UnknownAgent(f"no agent is named {name!r}: a name is {NAME_RULE}.")
