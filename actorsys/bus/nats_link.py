"""Who keeps the connection? One task, that connects, watches, and starts again, until it is told to stop."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from .. import clock
from ..errors import ActorError, Unreachable
from ..units import SECOND_NS
from .base import MAX_PAYLOAD, State
from .counters import Counters, Often
from .nats_creds import Term
from .nats_options import NatsOptions, without_secret
from .nats_pool import Pool
from .nats_watch import Watch

if TYPE_CHECKING:
    from .nats_client import Connection

log = logging.getLogger("actorsys.bus")

STABLE = 5.0  # seconds that a connection must last to count as a success
_REFUSED = re.compile(r"authorization|authentication|nkey|jwt|credentials", re.IGNORECASE)
# nats-py hands us the server's text in lower case.
_PERMISSION = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"', re.IGNORECASE)


class Link:
    """`client` is the connection in use, or None; `adopt` makes a new one usable, `retire` takes what an old one still brings;
    `deny` hears of refused subjects; while any `is_refused`, `ask_again` asks for them once more before each ping.
    """

    def __init__(
        self,
        options: NatsOptions,
        counters: Counters,
        *,
        name: str,
        inbox_prefix: str,
        adopt: "Callable[[Connection], Awaitable[None]]",
        retire: Callable[[], Awaitable[None]],
        deny: Callable[[str, str], None],
        is_refused: Callable[[], bool],
        ask_again: "Callable[[Connection], Awaitable[None]]",
    ) -> None:
        self.client: Connection | None = None
        self.max_payload = MAX_PAYLOAD
        self.on_state: Callable[[State], None] | None = None  # called with each new state
        self._state: State = "off"
        self.reason = "not started"
        self._options = options
        self._counters = counters
        self._name = name
        self._inbox_prefix = inbox_prefix
        self._adopt = adopt
        self._retire = retire
        self._deny = deny
        self._is_refused = is_refused
        self._ask_again = ask_again
        self._pool = Pool(options.urls)
        self._confirmed = 0  # of `out_messages`: those that the server certainly has, or that are counted as lost
        self._connected = asyncio.Event()  # set also when the link ends, to wake who waits
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._burials: set[asyncio.Task[None]] = set()
        self._cause = ""
        self._moving = ""  # why the connection is left for another while it still works
        self._term = Term()
        self._watch: Watch | None = None
        self._url = ""
        self._outage = Often(30.0)
        self._expiring = Often(30.0)
        self._denied = Often(3600.0)

    @property
    def state(self) -> State:
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        is_new, self._state = state != self._state, state
        if is_new and self.on_state is not None:
            self.on_state(state)

    @property
    def is_moving(self) -> bool:
        """Whether there is no connection only because one follows another."""
        return self.client is None and bool(self._moving)

    def start(self) -> None:
        if self._task is None:
            self.state, self.reason = "connecting", "not connected yet"
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"{self._name} NATS link")

    async def close(self) -> None:
        self.state, self.reason = "off", "closed"
        self._connected.set()
        while self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=0.1)  # nats-py swallows a cancellation here and there
        if self._burials:
            await asyncio.wait(self._burials)

    async def wait_connected(self, timeout: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._connected.wait()
        if self.client is None:
            raise self.unreachable()

    def unreachable(self) -> Unreachable:
        shown = ", ".join(map(without_secret, self._options.urls))
        return Unreachable(f"NATS ({shown}) is not connected: {self.reason}.")

    def notice_loss(self) -> None:
        """Somebody saw that the client is not connected any more."""
        if self.client is not None:  # otherwise `_lost` belongs to a connection that is being made
            self._lost.set()
            self.client.give_up_pings()

    async def ping(self, timeout: float) -> None:
        """Return when the server has all that was sent; raise OSError otherwise."""
        client, sent = self.client, self._counters.out_messages
        if client is None:
            raise ConnectionError(self.reason)
        await client.ping(timeout)
        if client is self.client:
            self._confirmed = max(self._confirmed, sent)

    async def _run(self) -> None:
        tries = 0
        while self.state != "off":
            client, was_refused = await self._connect_any()
            if client is not None and await self._serve(client) >= STABLE:
                tries = 0
            if self._moving:
                continue
            await asyncio.sleep(self._options.backoff(tries, was_refused=was_refused))
            tries += 1

    async def _connect_any(self) -> "tuple[Connection | None, bool]":
        """One round through the servers: a connection, or None and whether each of them refused our login."""
        refused = 0
        for target in self._pool.round():
            self._lost = asyncio.Event()
            self._cause = ""
            try:
                return await self._connect(target.url, target.tls_hostname), False
            except Exception as error:  # noqa: BLE001 - whatever it is, it is no reason to die
                refused += self._failed(target.url, error)
        return None, refused == len(self._pool)

    async def _connect(self, url: str, tls_hostname: str) -> "Connection":
        from . import nats_client  # imports nats: 60 ms and 5 MiB that a process without NATS does not pay

        self._term = Term.of(self._options.expires(), _now())
        client = await nats_client.connect(
            url,
            self._options,
            name=self._name,
            inbox_prefix=self._inbox_prefix,
            tls_hostname=self._options.tls_hostname or tls_hostname,
            on_error=self._on_error,
            on_lost=self._lost.set,
            on_lame_duck=lambda: self._on_lame_duck(self._lost),
            on_unreadable=self._on_unreadable,
        )
        self._url = url
        self._pool.learn(url, nats_client.discovered(client))
        return client

    async def _serve(self, client: "Connection") -> float:
        """Use a connection until it is gone; how many seconds it lasted."""
        began, lost = clock.now_ns(), self._lost
        self._confirmed = self._counters.out_messages
        self.max_payload = client.max_payload
        try:
            await self._adopt(client)
            self._begin(client)
            self._watch = watch = self._watched(client)
            watch.start()
            try:
                if client.is_connected:
                    await lost.wait()
            finally:
                await watch.close()
            if self._moving and client.is_connected:
                await self._leave(client)
        except Exception as error:  # noqa: BLE001 - as above
            self._cause, self._moving = self._describe(error), ""
        finally:
            self._let_go(client)
        return (clock.now_ns() - began) / SECOND_NS

    def _watched(self, client: "Connection") -> Watch:
        """Who pings the server, seldom while nothing is sent. It is lost when it is silent, or left when there are new credentials."""
        options, lost, asked = self._options, self._lost, 0

        def ping() -> "asyncio.Future[bool]":
            nonlocal asked
            asked = self._counters.out_messages
            client.on_send = watch.hasten  # as long as it stays there nothing was sent
            return client.ping_nowait()

        def answered() -> None:
            self._confirmed = max(self._confirmed, asked)

        def is_due() -> bool:
            return self._is_refused() or _now() >= self._term.renew_at

        def wait() -> float:
            is_quiet = client.on_send is not None and not is_due()
            return self._term.wait(options.until_ping(is_quiet=is_quiet), _now())

        async def look() -> None:
            await self._ask_again(client)
            await self.ping(options.ping_timeout)
            self._renew()
            if self._moving:
                lost.set()

        def failed(error: Exception) -> None:
            self._cause, self._moving = self._describe(error), ""
            lost.set()

        watch = Watch(
            ping,
            wait=wait,
            timeout=options.ping_timeout,
            answered=answered,
            failed=failed,
            is_due=is_due,
            look=look,
        )
        return watch

    def _renew(self) -> None:
        """Move if the credentials are about to expire and there are newer ones."""
        now, term = _now(), self._term
        if now < term.renew_at:
            return
        if (self._options.expires() or 0.0) > term.expires:
            self._moving = "the credentials were renewed"
        elif self._expiring.hold("") is not None:
            log.warning("%s: the NATS credentials expire in %d s, and there are no newer ones", self._name, term.expires - now)

    def _on_lame_duck(self, lost: asyncio.Event) -> None:
        """The server will end its connections one by one. Where there is another, move now: early, but not all clients at once."""
        self._learn()
        has_other = len(self._pool) > 1
        log.info("%s: the NATS server is about to stop; %s", self._name, "moving to another" if has_other else "it may come back")

        def move() -> None:
            if lost is self._lost and not lost.is_set():
                self._moving = "the server is about to stop"
                lost.set()

        if has_other:
            asyncio.get_running_loop().call_later(self._options.spread(), move)

    async def _leave(self, client: "Connection") -> None:
        """Let the server deliver what it has for us, and see that it has all of ours; what is published meanwhile waits."""
        self.client = None
        self._connected.clear()
        self.state, self.reason = "connecting", self._moving
        try:
            async with asyncio.timeout(self._options.ping_timeout):
                await self._retire()
                await client.ping(self._options.ping_timeout)
        except BaseException:
            self.client = client  # lost, like any other
            raise
        self._counters.moves += 1
        log.info("%s: %s: a new NATS connection is made", self._name, self._moving)

    def _learn(self) -> None:
        """Remember the other servers of the cluster, as the connection of this moment tells of them."""
        if self.client is not None:
            from .nats_client import discovered

            self._pool.learn(self._url, discovered(self.client))

    def _begin(self, client: "Connection") -> None:
        self.client = client
        self.state, self.reason, self._moving = "connected", "", ""
        self._counters.connects += 1
        self._connected.set()
        url = client.connected_url
        if self._outage.hold("back") is not None:
            log.info("%s: connected to NATS at %s", self._name, url.netloc if url else "?")

    def _let_go(self, client: "Connection") -> None:
        was_live = self.client is client
        self._learn()
        self.client = None
        if self.state != "off":
            self.state = "connecting"
            self._connected.clear()
            self.reason = self._cause or self._describe(client.last_error) or "the connection was closed"
            self._counters.last_error = self.reason
        if was_live:
            unconfirmed = self._counters.out_messages - self._confirmed
            if self.state != "off":
                self._counters.disconnects += 1
                self._counters.unconfirmed += unconfirmed
                self._counters.warn(
                    "lost", "NATS connection lost (%s); up to %d messages may not have arrived", self.reason, unconfirmed
                )
        from .nats_client import bury

        burial = asyncio.get_running_loop().create_task(bury(client))
        self._burials.add(burial)
        burial.add_done_callback(self._burials.discard)

    def _failed(self, url: str, error: Exception) -> bool:
        """Note a failed attempt; whether the server knows us not."""
        self._moving = ""
        text = self._describe(error)
        if self._cause and type(error).__name__ == "NoServersError":
            text = self._cause
        was_refused = not isinstance(error, OSError) and _REFUSED.search(text) is not None
        self.reason = f"the login is refused ({text})" if was_refused else text
        self._counters.errors += 1
        self._counters.last_error = self.reason
        if self._outage.hold(self.reason) is not None:
            log.warning("%s: no NATS at %s: %s; trying again", self._name, without_secret(url), self.reason)
        return was_refused

    def _on_error(self, error: Exception) -> None:
        text = self._describe(error)
        if match := _PERMISSION.search(text):
            self._counters.errors += 1
            self._counters.permission_errors += 1
            self._counters.last_error = text
            if self._denied.hold(match[0]) is not None:
                log.warning("%s: %s; the credentials do not allow it", self._name, text)
            self._deny(match[1].lower(), match[2].lower())
            if self._watch is not None:
                self._watch.hasten()  # it is asked for again before each ping
            return
        self._cause = text
        if self.client is not None:
            self._counters.errors += 1
            self._counters.last_error = text

    def _on_unreadable(self, subject: str, error: Exception) -> None:
        self._counters.dropped += 1
        self._counters.warn(
            "unreadable", "a message on %r was dropped, for it cannot be read: %s", subject, self._describe(error)
        )

    def _describe(self, error: BaseException | None) -> str:
        if error is None:
            return ""
        text = error.message if isinstance(error, ActorError) else str(error)
        return self._options.redact(text.removeprefix("nats: ") or type(error).__name__)


def _now() -> float:
    return clock.wall_ns() / SECOND_NS
