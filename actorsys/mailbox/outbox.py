"""How a process sends messages and waits for replies: the caller's side of the mail.

An agent's runtime and the supervisor's own process each have one; they differ only in where a letter goes (`post`) and when a tell is
in custody (`send`).
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from threading import get_ident
from typing import Any, Literal, Protocol

from ..clock import now_ns
from ..errors import ActorError, AgentDown, AskTimeout, BadMessage, MailboxFull, UnknownAgent
from ..messages import Failure
from ..spec import MAX_PAYLOAD
from ..units import SECOND_NS, format_bytes, format_seconds
from .codec import decode, encode
from .deadlines import NEVER, Deadlines
from .kinds import KINDS, PLAIN, Kind, kind_of
from .letter import (
    ASK,
    DEFAULT_PRIORITY,
    FAIL_WHEN_DOWN,
    FAILURE,
    PART,
    PRIORITIES,
    STREAM,
    TELL,
    Credit,
    Forget,
    Full,
    Letter,
    Room,
    UpNote,
    weight,
)
from .stream import Parts, Stream

MAX_TIMEOUT = 1e8  # seconds, three years: longer waits end then, and a deadline stays a 64-bit number of nanoseconds
ROOM_TIMEOUT = 30.0  # seconds that a tell waits for room before it gives up

RECHECK = 10.0  # seconds for which a name that lives on this node is taken to live there
WhenDown = Literal["wait", "fail"]


class Far(Protocol):
    """Reaches the agents of other nodes, where NATS is on. Of a letter it reads what its sender knows: not the id."""

    async def tell(self, letter: Letter, trace: str) -> None: ...

    async def ask(self, letter: Letter, trace: str, expected: Any, *, idempotent: bool) -> Any: ...

    async def stream(self, letter: Letter, trace: str, expected: Any) -> Parts: ...

    async def hand_over(self, letter: Letter, trace: str, metadata: dict[str, Any] | None, *, key: str) -> str: ...

    async def broadcast(self, letter: Letter, trace: str, metadata: dict[str, Any] | None, *, key: str) -> str: ...


class _Late(Exception):
    """No answer within the timeout."""


def _check(priority: int) -> None:
    if type(priority) is not int or priority not in PRIORITIES:  # True and 2.0 are in it, too, and no letter can carry them
        raise BadMessage(f"priority {priority!r}; it goes from 1 (urgent) to 5", field="priority")


def _bounded(timeout: float) -> float:
    if not timeout >= 0:
        raise BadMessage(f"timeout {timeout!r}; it is a number of seconds", field="timeout")
    return min(timeout, MAX_TIMEOUT)


class Outbox(ABC):
    def __init__(self, name: str, first_number: int = 1) -> None:
        self.name = name
        self.max_payload: int = MAX_PAYLOAD
        self._next = first_number  # unique over the incarnations of an agent, so that a stale reply meets no later ask
        self._asks: dict[int, tuple[asyncio.Future[Any], Callable[[Any], Any], int]] = {}  # the last is the deadline
        self._deadlines = Deadlines(lambda: ((number, entry[2]) for number, entry in self._asks.items()), self._late)
        self._streams: dict[int, Parts] = {}
        self._full: dict[str, tuple[bool, asyncio.Future[None]]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0  # that the loop runs in; cheaper to ask for than the loop itself
        with suppress(RuntimeError):  # no loop runs yet: the first that asks brings it
            self._bind()
        self.far: Far | None = None
        self._here: set[str] = set()  # names known to live on this node

    @abstractmethod
    def post(self, letter: Letter) -> None:
        """Send a letter on its way; never waits."""

    @abstractmethod
    def note(self, note: UpNote) -> None:
        """Send a note on its way."""

    @abstractmethod
    def send(self, letter: Letter) -> Awaitable[None] | None:
        """Post a tell; what to wait for until it may be called accepted, see `Ref.tell`. None: it is."""

    @abstractmethod
    async def command(self, do: str, arguments: dict[str, Any]) -> Any:
        """Have the supervisor do something with an agent; raises what it answers."""

    def chain(self) -> tuple[str, ...]:
        """The agents that wait for what an ask from here will bring."""
        return ()

    def trace(self) -> str:
        """The id of the conversation that a message from here belongs to."""
        return ""

    async def is_here(self, to: str) -> bool:
        """Whether the name lives on this node; remembered for a while, if so."""
        here = to == self.name or bool((await self.command("where", {"name": to}))["here"])
        if here:
            self._here.add(to)
            asyncio.get_running_loop().call_later(RECHECK, self._here.discard, to)
        return here

    def fit(self, payload: bytes) -> bytes:
        """The payload, if it is not too large to be sent. Raises BadMessage."""
        if len(payload) > self.max_payload:
            raise BadMessage(
                f"a payload of {format_bytes(len(payload))}; at most {format_bytes(self.max_payload)} are allowed. Raise max_payload "
                "in [supervisor] (16MiB at most), send it in parts, or send where it is stored.",
                field="payload",
            )
        return payload

    async def tell(self, to: str, message: Any, *, priority: int = DEFAULT_PRIORITY) -> None:
        if self._full and to in self._full and to != self.name:
            await self.wait_room(to)
        cls = type(message)
        kind = KINDS.get(cls) or kind_of(cls)
        payload = encode(message)
        if priority is not DEFAULT_PRIORITY:
            _check(priority)
        if len(payload) > self.max_payload:
            self.fit(payload)
        letter = Letter(TELL, 0, to, "", kind.id, payload, priority)
        if self.far is not None and to not in self._here and not await self.is_here(to):
            await self.far.tell(letter, self.trace())
        elif (accepted := self.send(letter)) is not None:
            await accepted

    async def tell_raw(self, to: str, kind: str, payload: bytes, *, priority: int, flags: int) -> None:
        _check(priority)
        letter = Letter(TELL, 0, to, "", kind, self.fit(payload), priority, 0, flags)
        if self.far is not None and not await self.is_here(to):
            await self.far.tell(letter, self.trace())
        elif (accepted := self.send(letter)) is not None:
            await accepted

    def ask(
        self,
        to: str,
        message: Any,
        *,
        timeout: float,
        priority: int = DEFAULT_PRIORITY,
        when_down: WhenDown = "wait",
        idempotent: bool = False,
    ) -> Coroutine[Any, Any, Any]:
        """See `Ref.ask`. This and `ask_raw` only hand on: each coroutine in the row would cost at every wake-up."""
        return self._ask(to, None, message, timeout, priority, FAIL_WHEN_DOWN if when_down == "fail" else 0, idempotent)

    def ask_raw(
        self, to: str, kind: Kind, payload: bytes, *, timeout: float, priority: int, flags: int
    ) -> Coroutine[Any, Any, Any]:
        return self._ask(to, kind, payload, timeout, priority, flags, False)

    async def ask_any(
        self, capability: str, message: Any, *, timeout: float, when_down: WhenDown = "wait", idempotent: bool = False
    ) -> Any:
        """See `Agent.ask`."""
        until = now_ns() + int(_bounded(timeout) * SECOND_NS)
        names = await self.command("find", {"capability": capability, "but": self.name})
        for number, name in enumerate(names, 1):
            left = max(0.0, (until - now_ns()) / SECOND_NS)
            try:
                return await self.ask(name, message, timeout=left, when_down=when_down, idempotent=idempotent)
            except (UnknownAgent, AgentDown) as error:
                if number == len(names) or (isinstance(error, AgentDown) and error.may_have_run):
                    raise
        raise AssertionError("`find` but for one raises when there is no other")

    async def _ask(
        self, to: str, kind: Kind | None, message: Any, timeout: float, priority: int, flags: int, idempotent: bool
    ) -> Any:
        """Without a `kind`, `message` is yet to be encoded."""
        if kind is None:
            cls = type(message)
            kind = KINDS.get(cls) or kind_of(cls)
            message = encode(message)
        if not 0 <= timeout <= MAX_TIMEOUT:
            timeout = _bounded(timeout)
        if priority is not DEFAULT_PRIORITY:
            _check(priority)
        if len(message) > self.max_payload:
            self.fit(message)
        deadline = now_ns() + int(timeout * SECOND_NS)
        letter = Letter(ASK, 0, to, "", kind.id, message, priority, deadline, flags, 0, self.chain())
        if self.far is not None and to not in self._here and not await self.is_here(to):
            return await self.far.ask(letter, self.trace(), kind.reply, idempotent=idempotent)
        if self._full and to in self._full:
            await self.wait_room(to, min(timeout, ROOM_TIMEOUT))
        number, answer = self.expect(kind.decode_reply, deadline)
        letter.id = number
        try:
            self.post(letter)
            self._deadlines.watch(deadline)
            return await answer
        except asyncio.CancelledError:
            if number in self._asks:
                self.note(Forget(number))
            raise
        except _Late:
            text = f"{to!r} did not answer within {format_seconds(timeout)}; its handler may still run or have run."
            raise AskTimeout(text) from None
        except UnknownAgent:  # of this name, or of one that its handler asked for
            self._here.discard(to)
            if self.far is None or await self.is_here(to):
                raise
        finally:
            self._asks.pop(number, None)
        return await self.far.ask(letter, self.trace(), kind.reply, idempotent=idempotent)

    def stream(self, to: str, message: Any, *, timeout: float, priority: int, when_down: WhenDown) -> Stream[Any]:
        """See `Ref.stream`."""
        cls = type(message)
        flags = FAIL_WHEN_DOWN if when_down == "fail" else 0
        return self.stream_raw(
            to, KINDS.get(cls) or kind_of(cls), encode(message), timeout=timeout, priority=priority, flags=flags
        )

    def stream_raw(
        self, to: str, kind: Kind, payload: bytes, *, timeout: float, priority: int, flags: int, room: float = ROOM_TIMEOUT
    ) -> Stream[Any]:
        timeout = _bounded(timeout)
        _check(priority)
        letter = Letter(ASK, 0, to, "", kind.id, self.fit(payload), priority, 0, flags | STREAM)

        async def open() -> Parts:
            letter.deadline = now_ns() + int(timeout * SECOND_NS)
            letter.chain = self.chain()
            if self.far is not None and to not in self._here and not await self.is_here(to):
                return await self.far.stream(letter, self.trace(), kind.reply)
            if self._full and to in self._full:
                await self.wait_room(to, room)
            parts = self._begin(letter, kind)
            try:
                await parts.wait()
                if self.far is None or not isinstance(parts.error, UnknownAgent):
                    return parts
                self._here.discard(to)
                if await self.is_here(to):
                    return parts
            except BaseException:
                parts.close()
                raise
            return await self.far.stream(letter, self.trace(), kind.reply)

        return Stream(to, timeout, open)

    def _begin(self, letter: Letter, kind: Kind) -> Parts:
        """Post the ask of a stream."""
        letter.id = number = self._next
        self._next = number + 1

        def forget() -> None:
            if self._streams.pop(number, None) is not None:
                self.note(Forget(number))

        parts = Parts(kind.decode_reply, lambda units: self.note(Credit(number, units)), forget)
        self._streams[number] = parts
        try:
            self.post(letter)
        except ActorError:
            del self._streams[number]
            raise
        return parts

    def expect(
        self, decode_reply: Callable[[Any], Any] = PLAIN.decode_reply, deadline: int = NEVER
    ) -> tuple[int, asyncio.Future[Any]]:
        """A new number, and the answer that will come under it."""
        number = self._next
        self._next = number + 1
        if get_ident() != self._thread:
            self._check_loop()
        assert self._loop is not None
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._asks[number] = answer, decode_reply, deadline
        return number, answer

    def _bind(self) -> None:
        self._loop, self._thread = asyncio.get_running_loop(), get_ident()

    def _check_loop(self) -> None:
        if self._loop is None:
            self._bind()
            return
        raise ActorError(
            "this was asked from a thread that is not the supervisor's, or the agent's, own; ask it there: "
            "asyncio.run_coroutine_threadsafe(ref.ask(...), loop).result()"
        )

    def _late(self, number: int) -> None:
        entry = self._asks.get(number)
        if entry is not None and not entry[0].done():  # one that is cancelled finds itself here, and says so
            del self._asks[number]
            entry[0].set_exception(_Late())

    def replied(self, letter: Letter) -> None:
        """A part, reply or failure came in; one that nobody waits for any more is dropped."""
        entry = self._asks.pop(letter.id, None)
        if entry is None:
            self._streamed(letter)
            return
        answer, decode_reply, _ = entry
        if answer.done():
            return
        try:
            if letter.kind == FAILURE:
                answer.set_exception(decode(letter.payload, Failure).error())
            else:
                answer.set_result(decode_reply(letter.payload))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the reply belongs to who asked for it
            answer.set_exception(BadMessage(f"the reply is not of the type that the request names: {error}"))

    def _streamed(self, letter: Letter) -> None:
        if letter.kind == PART:
            if (parts := self._streams.get(letter.id)) is not None:
                parts.put(letter.payload, weight(letter.payload))
        elif (parts := self._streams.pop(letter.id, None)) is not None:
            try:
                parts.end(decode(letter.payload, Failure).error() if letter.kind == FAILURE else None)
            except BadMessage as error:  # as above
                parts.end(error)

    def give_up(self, error: ActorError) -> None:
        """No answer will come any more: end all that wait for one."""
        for parts in self._streams.values():
            parts.end(error)
        self._streams.clear()
        self._deadlines.close()
        for answer, _, _ in self._asks.values():
            if not answer.done():
                answer.set_exception(error)

    def noted(self, note: Full | Room) -> None:
        """A mailbox that we feed has filled up, or has room again."""
        if type(note) is Full:
            if note.name not in self._full:
                self._full[note.name] = (note.reject, asyncio.get_running_loop().create_future())
        elif (entry := self._full.pop(note.name, None)) is not None and not entry[1].done():
            entry[1].set_result(None)

    def has_room(self, to: str) -> bool:
        """Whether `wait_room` returns at once."""
        return to not in self._full

    def rejects(self, to: str) -> bool:
        """Whether `wait_room` raises at once."""
        return to in self._full and self._full[to][0]

    async def wait_room(self, to: str, timeout: float = ROOM_TIMEOUT, *, began: float | None = None) -> None:
        """Wait until the mailbox has room. Raises MailboxFull by its policy, or `timeout` seconds after `began` (loop time) or now."""
        until = (asyncio.get_running_loop().time() if began is None else began) + timeout
        while to in self._full:
            reject, room = self._full[to]
            if reject:
                raise MailboxFull(
                    f"the mailbox of {to!r} is full and its overflow policy is to reject. `actorsys ps` shows its depth."
                )
            try:
                async with asyncio.timeout_at(until):
                    await asyncio.shield(room)
            except TimeoutError:
                raise MailboxFull(
                    f"the mailbox of {to!r} had no room for {format_seconds(timeout)}. It handles less than it is sent: "
                    "raise its mailbox.size, add replicas, or send less."
                ) from None
