"""The same bus inside one process, without a server: for tests, and for an agent whose NATS is off.

A `LocalHub` stands for the server, a `LocalBus` for one connection to it. The hub can go away and come back.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from itertools import count
from types import TracebackType
from typing import Any

from ..errors import Unreachable
from .asks import Asks, nobody, too_late
from .base import MAX_BYTES, MAX_MESSAGES, MAX_PAYLOAD, OUTBOX_BYTES, BusStats, Handler, Incoming, State
from .counters import Counters
from .inbound import Inbound, Inbounds
from .outgoing import Letter, Outbox, check_headers, check_size, to_json
from .subjects import check_pattern, check_subject, matches


class LocalHub:
    def __init__(self) -> None:
        self.is_up = True
        self.buses: set[LocalBus] = set()
        self.inbounds: dict[Inbound, None] = {}
        self._turn = count()

    def stop(self) -> None:
        """Go away, as a server does that is killed."""
        self.is_up = False
        for bus in self.buses:
            bus.on_down()

    def start(self) -> None:
        """Come back; the buses find it at once."""
        self.is_up = True
        for bus in list(self.buses):
            bus.on_up()

    def route(self, letter: Letter) -> int:
        """Deliver to every plain subscriber and to one of each queue group; how many got it."""
        incoming = Incoming(letter.subject, letter.payload, letter.reply, letter.headers)
        groups: dict[str, list[Inbound]] = defaultdict(list)
        chosen: list[Inbound] = []
        for inbound in self.inbounds:
            if matches(inbound.subject, letter.subject):
                (groups[inbound.queue] if inbound.queue else chosen).append(inbound)
        turn = next(self._turn)
        chosen += [members[turn % len(members)] for members in groups.values()]
        for inbound in chosen:
            inbound.deliver(incoming)
        return len(chosen)


class LocalBus:
    """A `Bus` on a hub; without one it is alone and talks to itself."""

    def __init__(self, hub: LocalHub | None = None, *, name: str = "local", outbox_bytes: int = OUTBOX_BYTES) -> None:
        self._hub = hub or LocalHub()
        self._counters = Counters(name)
        self._asks = Asks("_INBOX")
        self._outbox = Outbox(outbox_bytes)
        self._subscriptions = Inbounds()
        self._connected = asyncio.Event()
        self._state: State = "off"

    async def start(self) -> None:
        if self not in self._hub.buses:
            self._hub.buses.add(self)
            self._state = "connecting"
            if self._hub.is_up:
                self.on_up()

    async def __aenter__(self) -> "LocalBus":
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        await self.close()

    @property
    def state(self) -> State:
        return self._state

    @property
    def reason(self) -> str:
        return {"connected": "", "connecting": "the hub is down", "off": "closed or not started"}[self._state]

    @property
    def is_connected(self) -> bool:
        return self._state == "connected"

    def on_up(self) -> None:
        self._state = "connected"
        self._counters.connects += 1
        self._hub.inbounds.update(dict.fromkeys(self._subscriptions))
        self._connected.set()
        while len(self._outbox):
            letter = self._outbox.first()
            self._outbox.drop_first()
            self._send(letter)

    def on_down(self) -> None:
        self._state = "connecting"
        self._counters.disconnects += 1
        self._counters.last_error = self.reason
        for inbound in self._subscriptions:
            self._hub.inbounds.pop(inbound, None)
        self._connected.clear()

    async def wait_connected(self, timeout: float) -> None:
        if self._state == "connecting":
            try:
                await asyncio.wait_for(self._connected.wait(), timeout)
            except TimeoutError:
                raise self._unreachable() from None
        if not self.is_connected:
            raise self._unreachable()

    def stats(self) -> BusStats:
        return self._counters.snapshot(buffered=len(self._outbox), subscriptions=len(self._subscriptions))

    async def publish(
        self, subject: str, payload: bytes, *, reply: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        letter = _letter(subject, payload, reply, headers)
        if self.is_connected:
            self._send(letter)
        elif self._state == "off":
            raise self._unreachable()
        else:
            self._outbox.put(letter, self.reason)

    async def publish_json(
        self, subject: str, value: Any, *, reply: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        await self.publish(subject, to_json(value), reply=reply, headers=headers)

    async def request(
        self, subject: str, payload: bytes, timeout: float, *, headers: Mapping[str, str] | None = None
    ) -> Incoming:
        reply, answer = self._asks.open(subject)
        try:
            letter = _letter(subject, payload, reply, headers)
            if not self.is_connected:
                raise self._unreachable()
            if not self._send(letter):
                raise nobody(subject)
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            raise too_late(subject, timeout) from None
        finally:
            self._asks.forget(reply)

    async def subscribe(
        self,
        subject: str,
        handler: Handler,
        *,
        queue: str = "",
        max_messages: int = MAX_MESSAGES,
        max_bytes: int = MAX_BYTES,
        concurrency: int = 1,
        on_full: Handler | None = None,
    ) -> Inbound:
        check_pattern(subject)
        if queue:
            check_subject(queue)
        if self._state == "off":
            raise self._unreachable()
        limits = {"max_messages": max_messages, "max_bytes": max_bytes, "concurrency": concurrency}
        inbound = Inbound(subject, handler, self._counters, self._leave, queue=queue, on_full=on_full, **limits)
        self._subscriptions.add(inbound)
        if self.is_connected:
            self._hub.inbounds[inbound] = None
        return inbound

    async def flush(self, timeout: float = 5.0) -> None:
        await self.wait_connected(timeout)

    async def drain(self, timeout: float = 5.0) -> None:
        await asyncio.gather(*(inbound.drain(timeout) for inbound in self._subscriptions))
        await self.close()

    async def close(self) -> None:
        self._state = "off"
        self._hub.buses.discard(self)
        self._connected.set()
        self._asks.fail(self._unreachable())
        for inbound in self._subscriptions:
            self._hub.inbounds.pop(inbound, None)
        await self._subscriptions.close()
        self._counters.unsent += self._outbox.clear()

    def _send(self, letter: Letter) -> int:
        self._counters.out_messages += 1
        self._counters.out_bytes += len(letter.payload)
        for bus in self._hub.buses:
            if bus._asks.owns(letter.subject):
                bus._asks.deliver(Incoming(letter.subject, letter.payload, letter.reply, letter.headers))
                return 1
        return self._hub.route(letter)

    async def _leave(self, inbound: Inbound) -> None:
        self._subscriptions.leave(inbound)
        self._hub.inbounds.pop(inbound, None)

    def _unreachable(self) -> Unreachable:
        return Unreachable(f"the local bus is not connected: {self.reason}.")


def _letter(subject: str, payload: bytes, reply: str | None, headers: Mapping[str, str] | None) -> Letter:
    check_subject(subject)
    if reply:
        check_subject(reply)
    checked = check_headers(headers) if headers else None
    check_size(payload, checked, MAX_PAYLOAD)
    return Letter(subject, payload, reply or "", checked)
