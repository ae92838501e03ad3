"""One connection to one NATS server, over nats-py.

With nats_reading and nats_websocket the only module that imports nats, and that knows its insides (2.16). A client lives as long as its
connection: nats-py's own reconnecting is off, because several errors end it for good anyway, because it waits without bound for a dead
socket to close (nats-io/nats.py issue 671), and because one way to come back is easier to trust than two.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, cast
from urllib.parse import urlsplit

from nats.aio.client import Client, RawCredentials
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.protocol import parser

from .base import Incoming
from .nats_options import WEB, NatsOptions, bare, credentials
from .nats_reading import shorten
from .nats_websocket import WebSocket

_NEVER = 10**8  # seconds; we ping ourselves, and see that the answer comes
_PENDING_BYTES = 2 * 2**20
_PUSH = 1.0  # seconds
_PING, _PONG = parser.PING, parser.PONG


class Sink:
    """Takes the messages of a subscription straight from nats-py's reader.

    It stands where nats-py takes a future for a single answer. The usual way, a queue and a task for each subscription, would
    hold messages that are gone, uncounted, when the connection breaks.
    """

    def __init__(self, deliver: Callable[[Incoming], None]) -> None:
        self.deliver = deliver

    def cancelled(self) -> bool:
        return False

    def set_result(self, msg: Msg) -> None:
        self.deliver(Incoming(msg.subject, msg.data, msg.reply, cast("Mapping[str, str] | None", msg.headers)))


class Connection(Client):
    """nats-py's client with four repairs: a PING keeps its place in the line, a PONG nobody waits for harms nobody, nor does a
    message that cannot be read, and a loss is told before anything is waited for.

    And with shorter ways for the three things that happen all the time: a message comes (`nats_reading`), a message goes, and a ping.
    """

    def __init__(self, on_lost: Callable[[], None], on_unreadable: Callable[[str, Exception], None]) -> None:
        super().__init__()
        self._on_lost = on_lost
        self._on_unreadable = on_unreadable
        self._pongs: list[asyncio.Future[bool]] = []
        self.on_send: Callable[[], None] | None = None  # called when anything is sent, and then forgotten
        self._is_due = False  # `_write` is about to be called
        self._call_soon = asyncio.get_running_loop().call_soon

    def take(self, sid: int, subject: bytes, reply: bytes, data: bytes) -> bool:
        """Deliver a message without headers; false if that is left to nats-py."""
        subscription = self._subs.get(sid)
        sink: object = None if subscription is None else subscription._future
        if not isinstance(sink, Sink):
            return False
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        try:
            sink.deliver(Incoming(subject.decode(), data, reply.decode()))
        except Exception as error:  # noqa: BLE001 - whatever it is, the next message is read
            self._on_unreadable(subject.decode(errors="backslashreplace"), error)
        return True

    def ponged(self) -> None:
        """An answer to our oldest ping."""
        # nats-py's own sets the result of a cancelled future, and the error ends the task that reads the socket.
        if self._pongs:
            future = self._pongs.pop(0)
            if not future.done():
                future.set_result(True)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: Any) -> None:
        # An error ends the task that reads the socket, and servers pass on what is not UTF-8 and headers that are none.
        try:
            if headers or not self.take(sid, subject, reply, data):
                await super()._process_msg(sid, subject, reply, data, headers)
        except Exception as error:  # noqa: BLE001 - as above
            self._on_unreadable(subject.decode(errors="backslashreplace"), error)

    async def _read_loop(self) -> None:
        # The original may end for an error, or for nothing, and leave a socket open that nobody reads.
        try:
            await super()._read_loop()
        finally:
            self.lose()

    async def _send_ping(self, future: "asyncio.Future[bool] | None" = None) -> None:
        # The original writes to the socket at once, ahead of what was published before it, so that its flush confirms too much.
        self._pongs.append(future or asyncio.get_running_loop().create_future())
        await self._send_command(_PING)
        await self._flush_pending()

    async def _send_command(self, cmd: bytes, priority: bool = False) -> None:
        # All that nats-py sends passes here: with headers, for JetStream, subscriptions, pings. A PONG only answers the server.
        if cmd != _PONG:
            self._speak()
        await super()._send_command(cmd, priority)

    def _speak(self) -> None:
        if (on_send := self.on_send) is not None:
            self.on_send = None
            on_send()

    async def _process_pong(self) -> None:
        self.ponged()

    async def _process_op_err(self, e: Exception) -> None:
        # The original writes what is pending and waits for the socket to close, first; uvloop raises at the one, the other can last.
        self._pending, self._pending_data_size = [], 0
        self.lose()
        await super()._process_op_err(e)

    async def send(self, subject: str, payload: bytes, reply: str, headers: dict[str, str] | None) -> None:
        """Publish what has been checked already; only a full buffer makes it wait."""
        if headers:
            await self.publish(subject, payload, reply, headers)
            return
        if self.on_send is not None:
            self._speak()
        # As the original, without the checks and calls in between, which cost more than the work: 1.3 us instead of 2.
        command = f"PUB {subject} {reply} {len(payload)}\r\n".encode() + payload + b"\r\n"
        self.stats["out_msgs"] += 1
        self._pending.append(command)
        self._pending_data_size += len(command)
        if self._pending_data_size > _PENDING_BYTES:
            await self._flush_pending(force_flush=True)
        elif not self._is_due:
            self._is_due = True
            self._call_soon(self._write)

    def _write(self) -> None:
        """Write what was sent in this turn of the loop; where the socket is slow, leave it to nats-py's own task, which waits."""
        self._is_due = False
        if self._unwritten == 0:
            self.hurry()
        elif self._pending_data_size and self._flush_queue is not None and self._flush_queue.empty():
            self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())

    @property
    def _unwritten(self) -> int | None:
        """Bytes that the socket did not take yet; None where that cannot be told."""
        writer = getattr(self._transport, "_io_writer", None)
        return None if writer is None else writer.transport.get_write_buffer_size()

    def hurry(self) -> None:
        """Write what was sent now, instead of when the loop turns: 30 us that somebody would wait."""
        transport = self._transport
        if self._pending_data_size and self.is_connected and transport is not None and not isinstance(transport, WebSocket):
            pending, self._pending, self._pending_data_size = self._pending, [], 0
            # uvloop raises RuntimeError for a socket that it closed a moment ago: the link notices too, and counts what was on its way.
            with suppress(OSError, RuntimeError):
                transport.writelines(pending)

    async def push(self) -> None:
        """Return when what was sent has left this process, as far as the socket takes it, or after `_PUSH` seconds."""
        self.hurry()
        if self._pending_data_size and self.is_connected and self._flush_queue is not None:
            written = asyncio.get_running_loop().create_future()
            with suppress(TimeoutError):
                async with asyncio.timeout(_PUSH):
                    await self._flush_queue.put(written)
                    await written
        # Some versions of uvloop write at the end of the turn. And without it an agent would handle all its mail in one turn: its
        # acknowledgements would wait for each other, and a kill would find many messages outstanding instead of one.
        await asyncio.sleep(0)

    def ping_nowait(self) -> "asyncio.Future[bool]":
        """Have the server answer once it has handled all that was sent before; the future ends with the connection, at the latest."""
        pong: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._pongs.append(pong)
        self._pending.append(_PING)
        self._pending_data_size += len(_PING)
        self._write()
        return pong

    async def ping(self, timeout: float) -> None:
        """Return when the server has handled all that was sent before; raise OSError if the connection is gone by then."""
        if not self.is_connected:
            raise ConnectionError("the connection is gone")
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                await self._send_ping(future)
                await future
        except TimeoutError:
            raise TimeoutError(f"the server did not answer a ping within {timeout:g} s") from None

    async def listen(self, subject: str, queue: str, deliver: Callable[[Incoming], None]) -> Subscription:
        return await self.subscribe(subject, queue=queue, future=cast("asyncio.Future[Any]", Sink(deliver)))

    async def listen_again(self, subscription: Subscription) -> None:
        """Repeat a subscription; to a server that has it already, it changes nothing."""
        await self._send_subscribe(subscription)

    def lose(self) -> None:
        """The connection is gone: nobody waits any longer, and the link looks for another."""
        self.give_up_pings()
        self._on_lost()

    def give_up_pings(self) -> None:
        """End those who wait for a PONG that will not come."""
        for future in self._pongs:
            if not future.done():
                future.set_exception(ConnectionError("the connection broke"))
                future.exception()  # seen: not everyone still waits

    def abort(self) -> None:
        """Close the socket now, whatever is left to send."""
        transport = self._transport
        if isinstance(transport, WebSocket):
            transport.abandon()
        for name in ("_io_writer", "_bare_io_writer"):
            writer = getattr(transport, name, None)
            if writer is not None:
                writer.transport.abort()


async def connect(
    url: str,
    options: NatsOptions,
    *,
    name: str,
    inbox_prefix: str,
    tls_hostname: str,
    on_error: Callable[[Exception], None],
    on_lost: Callable[[], None],
    on_lame_duck: Callable[[], None],
    on_unreadable: Callable[[str, Exception], None],
) -> Connection:
    """Connect and log in, once. However this ends without a connection, nothing is left open.

    Raises ConfigError for files that cannot be read, nats.errors.Error, OSError or TimeoutError for the rest.
    """
    client = Connection(on_lost, on_unreadable)

    async def error_cb(error: Exception) -> None:
        on_error(error)

    async def closed_cb() -> None:
        client.lose()

    async def lame_duck_cb() -> None:
        on_lame_duck()

    if urlsplit(url).scheme in WEB:
        client._transport = WebSocket()
    extra: dict[str, Any] = {name: value for name, value in _login(url, options).items() if value}
    if context := options.tls():
        extra["tls"] = context
    if tls_hostname:
        extra["tls_hostname"] = tls_hostname
    try:
        async with asyncio.timeout(4 * options.connect_timeout):
            await client.connect(
                servers=[bare(url)],
                name=name,
                allow_reconnect=False,
                max_reconnect_attempts=1,  # 0 would mean for ever
                reconnect_time_wait=0,
                connect_timeout=cast(int, options.connect_timeout),
                ping_interval=_NEVER,
                flush_timeout=options.ping_timeout,
                pending_size=_PENDING_BYTES,
                inbox_prefix=inbox_prefix,
                error_cb=error_cb,
                closed_cb=closed_cb,
                lame_duck_mode_cb=lame_duck_cb,
                **extra,
            )
        if (reader := getattr(client._transport, "_io_reader", None)) is not None:
            shorten(reader, client, client._ps)
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # nats-py swallowed it
            raise asyncio.CancelledError
    except BaseException:
        await bury(client)
        raise
    return client


async def bury(client: Connection, timeout: float = 1.0) -> None:
    """Close a client that is of no more use; bounded, and never raises but for cancellation."""
    client.give_up_pings()
    try:
        with suppress(Exception):  # it may be half made, or half closed already
            async with asyncio.timeout(timeout):
                await client.close()
    finally:
        client.abort()
    await asyncio.sleep(0)  # one turn of the loop, in which the aborted socket is closed


def discovered(client: Connection) -> list[tuple[str, str]]:
    """The other servers of the cluster: (url, name for TLS). A websocket client only learns of TCP addresses, useless to it."""
    here = client.connected_url
    if here is None or here.scheme not in ("nats", "tls"):
        return []
    return [(f"{uri.scheme}://{uri.netloc}", here.hostname or "") for uri in client.discovered_servers]


def _login(url: str, options: NatsOptions) -> dict[str, object]:
    if options.creds or options.creds_file:
        return {"user_credentials": RawCredentials(options.creds) if options.creds else options.creds_file}
    if options.nkey_seed:
        return {"nkeys_seed_str": options.nkey_seed}
    return dict(credentials(url)) or {"user": options.user, "password": options.password, "token": options.token}
