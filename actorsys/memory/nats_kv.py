"""State in a JetStream key-value bucket: an agent that was stopped on one node and is started on another finds it there.

All of an agent is one entry, named by its token, so that a commit is one write, which the server takes only if the entry is as we
left it. `open` writes too: whoever still holds the state of an earlier incarnation, maybe on a node that lost its way, fails at its next
commit with the reason `taken`.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import msgspec
from msgspec import Struct

from ..bus.nats import NatsBus
from ..bus.nats_options import NatsOptions
from ..errors import BadMessage, ConfigError, StateError, Unreachable
from ..mailbox.codec import DECODE_ERRORS, decode
from .base import MIB, MemoryContext, Restored, StoredFrame, encoded

if TYPE_CHECKING:
    from nats.js.kv import KeyValue

    from ..bus.nats_client import Connection

T = TypeVar("T")

BUCKET = "actorsys_state"
FORMAT = 1
CONNECT_TIMEOUT = 8.0  # seconds for `open`; the default start_timeout is 10
CALL_TIMEOUT = 5.0  # seconds for one call of the server
OVERHEAD_BYTES = 4096  # of the entry besides values and frames
TAKEN = (10071, 10164)  # JetStream's error codes for "wrong last sequence"
ROOM = (10077, 10047, 10023)  # for a stream, an account or a server that is full


class Entry(Struct, array_like=True):
    """What is stored for one agent."""

    format: int
    run: str
    writer: str  # one for each `open`
    count: int  # of this writer's commits
    values: dict[str, bytes]
    frames: list[StoredFrame]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


class NatsKv:
    is_durable = True

    def __init__(self, context: MemoryContext) -> None:
        if context.nats is None:
            text = 'memory = "nats_kv" needs a NATS connection; set [nats] mode, and do not set nats = false for this agent'
            raise ConfigError(text, where="memory")
        options = msgspec.convert(context.nats, NatsOptions)
        self._bus = NatsBus(
            options, name=f"state of {context.name}", inbox_prefix=f"_INBOX_state_{context.token.replace('.', '-')}"
        )
        self._key = context.token
        self._entry = Entry(FORMAT, "", "", 0, {}, [])
        self._revision = 0
        self._in_doubt: int | None = None  # `count` of a commit of which nobody knows whether it was stored
        self._confirmed: set[str] = set()
        self._limit = MIB
        self._is_open = False
        self._lock = asyncio.Lock()
        self._found: tuple[Connection, KeyValue] | None = None

    @property
    def value_bytes(self) -> int:
        return self.total_bytes // 2

    @property
    def total_bytes(self) -> int:
        return self._limit // 2  # the other half is for frames that are not confirmed yet

    async def open(self, run: str) -> Restored:
        bucket = await self._connect()
        self._entry.writer = uuid4().hex
        while True:
            revision, stored = await self._read(bucket)
            frames = list(stored.frames) if stored.run == run else []
            self._entry = Entry(FORMAT, run, self._entry.writer, 0, dict(stored.values), frames)
            try:
                self._revision = await self._write(bucket, self._entry, revision)
            except StateError as error:
                if error.reason == "taken":  # by somebody who wrote since we read, or we read from a follower: again
                    continue
                raise
            self._is_open = True
            return Restored(dict(self._entry.values), tuple(frames))

    async def peek(self) -> dict[str, bytes]:
        try:
            bucket = await self._connect()
            return dict((await self._read(bucket))[1].values)
        finally:
            await self.close()

    async def commit(self, changes: Mapping[str, bytes | None], message_ids: Sequence[str], frame: bytes) -> None:
        async with self._lock:
            if not self._is_open:
                raise StateError("the state in NATS is not open")
            bucket = await self._bucket()
            await self._settle(bucket)
            now = self._entry
            values = dict(now.values)
            for key, value in changes.items():
                if value is None:
                    values.pop(key, None)
                else:
                    values[key] = value
            confirmed = set(self._confirmed)
            gone = {*confirmed, *message_ids[:1]}  # a commit that is tried again replaces its frame
            frames = [stored for stored in now.frames if stored.message_ids[0] not in gone]
            if message_ids:
                frames.append(StoredFrame(tuple(message_ids), frame))
            entry = Entry(FORMAT, now.run, now.writer, now.count + 1, values, frames)
            self._in_doubt = entry.count
            try:
                revision = await self._write(bucket, entry, self._revision)
            except StateError as error:
                if error.reason != "unreachable":  # the server has answered, with a no
                    self._in_doubt = None
                if error.reason == "size" and len(frames) > 1:  # there is more room when these are confirmed
                    raise StateError(error.message, reason="busy") from error
                raise
            self._in_doubt = None
            self._entry, self._revision = entry, revision
            self._confirmed -= confirmed

    async def _settle(self, bucket: "KeyValue") -> None:
        """After a commit that got no answer: was it stored? If so its revision is the one we hold."""
        if self._in_doubt is None:
            return
        revision, stored = await self._read(bucket)
        if stored.writer != self._entry.writer:
            raise self._taken()
        if revision > self._revision and stored.count == self._in_doubt:
            self._entry, self._revision = stored, revision
        self._in_doubt = None

    def confirmed(self, message_ids: Sequence[str]) -> None:
        self._confirmed.add(message_ids[0])

    async def store(self, key: str, value: Any) -> None:
        await self.commit({key: encoded(key, value, self.value_bytes)}, (), b"")

    async def retrieve(self, key: str) -> Any:
        value = self._entry.values.get(key)
        return None if value is None else decode(value)

    async def delete(self, key: str) -> None:
        await self.commit({key: None}, (), b"")

    async def list_keys(self, prefix: str = "") -> list[str]:
        return sorted(key for key in self._entry.values if key.startswith(prefix))

    async def clear(self) -> None:
        await self.commit(dict.fromkeys(self._entry.values), (), b"")

    async def close(self) -> None:
        self._is_open = False
        await self._bus.close()

    # --- the server

    async def _connect(self) -> "KeyValue":
        await self._bus.start()
        try:
            await self._bus.wait_connected(CONNECT_TIMEOUT)
        except Unreachable as error:
            raise StateError(f"the state of {self._key} is in NATS: {error}", reason="unreachable") from error
        self._limit = self._bus.client.max_payload - OVERHEAD_BYTES
        return await self._bucket()

    async def _bucket(self) -> "KeyValue":
        """Our bucket over the connection of this moment; one that somebody made before, with replicas maybe, is taken as it is."""
        from nats.js.errors import BucketNotFoundError

        async def find() -> "KeyValue":
            await self._bus.wait_connected(1.0)  # a move to another connection takes milliseconds
            client = self._bus.client
            if self._found is not None and self._found[0] is client:
                return self._found[1]
            stream = client.jetstream(timeout=CALL_TIMEOUT)
            try:
                bucket = await stream.key_value(BUCKET)
            except BucketNotFoundError:
                bucket = await stream.create_key_value(bucket=BUCKET, history=1, description="state of actorsys agents")
            self._found = client, bucket
            return bucket

        return await self._call(find())

    async def _read(self, bucket: "KeyValue") -> tuple[int, Entry]:
        from nats.js.errors import KeyNotFoundError

        async def read() -> tuple[int, bytes | None]:
            try:
                found = await bucket.get(self._key)
            except KeyNotFoundError as error:
                # A deleted entry still has a revision, which the next write must name.
                return (getattr(error.entry, "revision", None) or 0), None
            return found.revision or 0, found.value or b""

        revision, data = await self._call(read())
        if data is None:
            return revision, Entry(FORMAT, "", "", 0, {}, [])
        try:
            entry = _decode(data)
        except DECODE_ERRORS as error:
            raise self._unreadable(str(error)) from error
        if entry.format != FORMAT:
            raise self._unreadable(f"its format is {entry.format}; this version reads {FORMAT}")
        return revision, entry

    async def _write(self, bucket: "KeyValue", entry: Entry, revision: int) -> int:
        data = _encode(entry)
        if len(data) > self._limit:
            text = (
                f"the state of {self._key} takes {len(data):,} bytes in NATS with what its messages sent; the server takes "
                f"{self._limit:,} at once. Keep less, send less from one handler, or raise max_payload of the server."
            )
            raise StateError(text, reason="size")
        return await self._call(bucket.update(self._key, data, last=revision))

    async def _call(self, call: Coroutine[Any, Any, T]) -> T:
        """Await a call of the server; what goes wrong becomes a StateError with a reason."""
        from nats.errors import Error
        from nats.js.errors import APIError, KeyWrongLastSequenceError, ServiceUnavailableError

        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                return await call
        except KeyWrongLastSequenceError as error:
            raise self._taken() from error
        except ServiceUnavailableError as error:  # nobody is there to take it, or a cluster has no quorum
            why = error.description or "JetStream is off there, or this account may not use it"
            raise StateError(f"the NATS server does not keep the state of {self._key}: {why}", reason="unreachable") from error
        except APIError as error:
            reason = "taken" if error.err_code in TAKEN else "full" if error.err_code in ROOM else "unreachable"
            raise StateError(f"NATS did not store the state of {self._key}: {error}", reason=reason) from error
        except (Error, OSError, BadMessage) as error:  # a TimeoutError is an OSError
            text = str(error) or type(error).__name__
            raise StateError(
                f"the state of {self._key} is in NATS, which does not answer: {text}", reason="unreachable"
            ) from error

    def _taken(self) -> StateError:
        return StateError(f"another process has taken over the state of {self._key} in NATS", reason="taken")

    def _unreadable(self, why: str) -> StateError:
        return StateError(
            f"the entry {self._key} of the NATS bucket {BUCKET} cannot be read ({why}) and is left as it is. "
            "Put a good one there, or delete it to start empty.",
            reason="corrupt",
        )
