"""How does an ask or a tell reach an agent of another node?

Over the caller's own NATS connection, with the same errors as on one node. A tell is a request too: its answer says that the letter
is in custody over there. Nobody listening means that there is no such agent, unless it was heard of: then it has a little time to
come back before it counts as down.
"""

import asyncio
from collections.abc import Awaitable, Callable
from secrets import token_hex
from typing import Any

from msgspec import Struct

from ..bus import envelope, stamp, subjects
from ..bus.base import Incoming, Subscription
from ..bus.envelope import Envelope
from ..bus.nats import NatsBus
from ..clock import now_ns
from ..errors import ActorError, AgentDown, AskTimeout, UnknownAgent, Unreachable
from ..llm.breaker import Breaker
from ..mailbox.letter import FAIL_WHEN_DOWN, LENIENT
from ..mailbox.outbox import ROOM_TIMEOUT
from ..names import NAME_RULE, base, is_name
from ..units import SECOND_NS, format_seconds
from . import translate
from .post import ENVELOPE_BYTES

CONNECT_WAIT = 2.0  # seconds that a call waits for a connection that is being made
GRACE = 0.5  # seconds in which an agent that was heard of may begin to listen again
POLL = 0.05
TRIES = 3  # of an ask that may be repeated
MAX_BREAKERS = 1000


class Where(Struct, frozen=True):
    """What the supervisor knows of a name: it lives here; it was heard of elsewhere; or what was probably meant."""

    here: bool
    heard: bool = False
    hint: str = ""


class Calls:
    """`sender` and `node` say who calls, `run` is the id of this life of the node."""

    def __init__(
        self, bus: NatsBus, *, sender: str, node: str, run: str, inbox: str, where: Callable[[str], Awaitable[Where]]
    ) -> None:
        self._bus = bus
        self._inbox = f"{inbox}.{token_hex(8)}"
        self._confirms: Subscription | None = None
        self._unconfirmed: set[str] = set()
        self._number = 0
        self._sender = sender
        self._node = node
        self._run = run
        self._where = where
        self.breakers: dict[str, Breaker] = {}
        self.retries = 0

    async def tell(self, to: str, kind: str, payload: bytes, *, priority: int, flags: int, trace: str) -> None:
        """Return when the letter is in custody over there. Raises UnknownAgent, AgentDown, MailboxFull, Unreachable, AskTimeout."""
        _check(to)
        content, metadata = translate.said(kind, payload)
        metadata |= self._about(flags, trace)
        made = envelope.message(self._sender, to, content, stamp.fresh(), metadata=metadata, priority=priority)
        await self._call(subjects.direct(to), to, made, ROOM_TIMEOUT, again=lambda: True)

    async def ask(
        self,
        to: str,
        kind: str,
        payload: bytes,
        expected: Any,
        *,
        timeout: float,
        priority: int,
        flags: int,
        chain: tuple[str, ...],
        trace: str,
        idempotent: bool,
    ) -> Any:
        """The reply, as an `expected`. Raises what an ask raises, and Unreachable."""
        _check(to)
        content, metadata = translate.said(kind, payload)
        metadata |= self._about(flags, trace)
        if chain:
            metadata["chain"] = translate.chain_of(chain, self._run)

        async def once(timeout: float) -> Any:
            about = metadata | {"timeout": round(timeout, 3)}
            self._number += 1
            about["confirm"] = f"{self._inbox}.{self._number}"
            made = envelope.request(self._sender, to, content, stamp.fresh(), metadata=about, priority=priority)
            return translate.reply_value(await self._guarded(to, made, timeout), expected)

        return await (self._repeated(once, timeout) if idempotent else once(timeout))

    def _about(self, flags: int, trace: str) -> dict[str, Any]:
        about: dict[str, Any] = {"node": self._node, "trace": trace or stamp.fresh().message_id}
        if flags & LENIENT:
            about["lenient"] = True
        if flags & FAIL_WHEN_DOWN:
            about["when_down"] = "fail"
        return about

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

    async def _guarded(self, to: str, asked: Envelope, timeout: float) -> Any:
        """Ask, unless the last asks to that name have all failed."""
        breaker = self.breakers.get(to)
        if breaker is None:
            if len(self.breakers) >= MAX_BREAKERS:
                self.breakers.pop(next(iter(self.breakers)))
            breaker = self.breakers[to] = Breaker()
        if not breaker.allows(now := now_ns()):
            left = format_seconds(breaker.left_ns(now) / SECOND_NS) if breaker.left_ns(now) else "as long as another ask tries it"
            text = f"{to!r} is not asked: the last {breaker.failures} asks got no answer. It is left alone for {left}."
            raise AgentDown(text, reason="it did not answer", may_have_run=False)
        confirm, connects = asked.metadata["confirm"], self._bus.connects
        self._unconfirmed.add(confirm)
        try:
            answer = await self._call(subjects.request(to), to, asked, timeout, again=lambda: confirm in self._unconfirmed)
        except (AskTimeout, AgentDown):
            if self._bus.is_connected and self._bus.connects == connects:
                breaker.failed(now_ns())
            else:
                breaker.abandoned()  # it may be ours that is down
            raise
        except (Unreachable, UnknownAgent, asyncio.CancelledError):
            breaker.abandoned()
            raise
        except ActorError:  # it answered
            breaker.succeeded()
            raise
        finally:
            self._unconfirmed.discard(confirm)
        breaker.succeeded()
        return answer

    async def _confirmed(self, incoming: Incoming) -> None:
        self._unconfirmed.discard(incoming.subject)

    async def _call(self, subject: str, to: str, sent: Envelope, timeout: float, again: Callable[[], bool]) -> Any:
        """Send an envelope, again while it may not have arrived; the content of its answer."""
        incoming = await self._request(subject, to, envelope.encode(sent), timeout, again)
        answer = envelope.decode(incoming.payload, limit=ENVELOPE_BYTES)
        if answer.message_type == "error":
            raise envelope.failure(answer).error()
        return answer.content

    async def _request(self, subject: str, to: str, data: bytes, timeout: float, again: Callable[[], bool]) -> Incoming:
        began = now_ns()
        if self._confirms is None:
            self._confirms = await self._bus.subscribe(f"{self._inbox}.*", self._confirmed)
        while (left := timeout - (now_ns() - began) / SECOND_NS) > 0:
            try:
                if not self._bus.is_connected:
                    await self._bus.wait_connected(min(CONNECT_WAIT, left))
                return await self._bus.request(subject, data, left, again=again)
            except Unreachable as error:
                where = await self._where(to)
                if where.heard:
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
        if not where.heard:
            hint = where.hint or " `actorsys agents` lists who answers."
            raise UnknownAgent(f"no agent is named {to!r} on this node, and none answers to that name on NATS.{hint}")
        if late:
            text = f"{to!r} was heard of on another node, but nobody answers to that name any more."
            raise AgentDown(text, reason="its node does not answer", may_have_run=False)


def _check(name: str) -> None:
    if not is_name(base(name)):
        raise UnknownAgent(f"no agent is named {name!r}: a name is {NAME_RULE}.")
