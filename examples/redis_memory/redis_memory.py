"""A memory backend of your own: the state of an agent in Redis, one hash per agent.

A commit is one MULTI/EXEC, so all of it is stored or nothing. EXEC is guarded by a WATCH on the name of who opened the state last: an
agent that was replaced, maybe on another machine, cannot write any more. What survives a power loss is up to Redis; run it with
`--appendonly yes --appendfsync always`.

Redis's protocol is small enough to be spoken here, so that the example needs no package; use the client you know.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec

from actorsys import StateError
from actorsys.memory.base import MIB, MemoryContext, Restored, StoredFrame, encoded

URL = "redis://127.0.0.1:6379"
TIMEOUT = 5.0  # seconds for one exchange


class RedisError(Exception):
    """Redis answered with an error."""


class RedisMemory:
    """The server is at REDIS_URL; keys are `actorsys:NAME:state`, `:frames` and `:owner`."""

    is_durable = True
    value_bytes = 16 * MIB
    total_bytes = 256 * MIB

    def __init__(self, context: MemoryContext) -> None:
        self._url = urlsplit(os.environ.get("REDIS_URL", URL))
        self._state, self._frames, self._owner = (f"actorsys:{context.token}:{part}" for part in ("state", "frames", "owner"))
        self._me = uuid4().hex
        self._confirmed: list[str] = []
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._lock = asyncio.Lock()

    async def open(self, run: str) -> Restored:
        before, _ = await self._send(("GET", self._owner), ("SET", self._owner, f"{run} {self._me}"))
        if before is None or before.decode().split()[0] != run:
            await self._send(("DEL", self._frames))
        (frames,) = await self._send(("HGETALL", self._frames))
        stored = [msgspec.msgpack.decode(frame, type=StoredFrame) for frame in frames[1::2]]
        self._run = run
        return Restored(await self.peek(), tuple(stored))

    async def peek(self) -> dict[str, bytes]:
        (flat,) = await self._send(("HGETALL", self._state))
        return {key.decode(): value for key, value in zip(flat[::2], flat[1::2], strict=True)}

    async def commit(self, changes: Mapping[str, bytes | None], message_ids: Sequence[str], frame: bytes) -> None:
        commands: list[tuple[str | bytes, ...]] = [("MULTI",)]
        confirmed = list(self._confirmed)
        if confirmed:
            commands.append(("HDEL", self._frames, *confirmed))
        for key, value in changes.items():
            commands.append(("HDEL", self._state, key) if value is None else ("HSET", self._state, key, value))
        if message_ids:
            packed = msgspec.msgpack.encode(StoredFrame(tuple(message_ids), frame))
            commands.append(("HSET", self._frames, message_ids[0], packed))
        async with self._lock:
            _, owner = await self._send(("WATCH", self._owner), ("GET", self._owner))
            if owner != f"{self._run} {self._me}".encode():
                raise StateError(f"another process has taken over {self._state} in Redis", reason="taken")
            *_, done = await self._send(*commands, ("EXEC",))
        if done is None:
            raise StateError(f"another process has taken over {self._state} in Redis", reason="taken")
        del self._confirmed[: len(confirmed)]

    def confirmed(self, message_ids: Sequence[str]) -> None:
        self._confirmed.append(message_ids[0])

    async def store(self, key: str, value: Any) -> None:
        await self.commit({key: encoded(key, value, self.value_bytes)}, (), b"")

    async def retrieve(self, key: str) -> Any:
        (value,) = await self._send(("HGET", self._state, key))
        return None if value is None else msgspec.msgpack.decode(value)

    async def delete(self, key: str) -> None:
        await self.commit({key: None}, (), b"")

    async def list_keys(self, prefix: str = "") -> list[str]:
        return sorted(key for key in await self.peek() if key.startswith(prefix))

    async def clear(self) -> None:
        await self.commit(dict.fromkeys(await self.peek()), (), b"")

    async def close(self) -> None:
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()
            with suppress(OSError):
                await streams[1].wait_closed()

    # --- the server

    async def _send(self, *commands: tuple[str | bytes, ...]) -> list[Any]:
        """The answers to some commands, sent together."""
        try:
            async with asyncio.timeout(TIMEOUT):
                if self._streams is None:
                    host, port = self._url.hostname or "127.0.0.1", self._url.port or 6379
                    self._streams = await asyncio.open_connection(host, port)
                reader, writer = self._streams
                writer.write(b"".join(map(_packed, commands)))
                await writer.drain()
                return [await _answer(reader) for _ in commands]
        except RedisError as error:
            await self.close()  # whatever it answered to the rest
            reason = "full" if str(error).startswith(("OOM", "MISCONF", "EXECABORT")) else None
            raise StateError(f"Redis refused to store {self._state}: {error}", reason=reason) from error
        except (OSError, EOFError) as error:  # a TimeoutError is an OSError
            await self.close()
            text = str(error) or type(error).__name__
            raise StateError(f"{self._state} is in Redis, which does not answer: {text}", reason="unreachable") from error


def _packed(command: tuple[str | bytes, ...]) -> bytes:
    words = [word.encode() if isinstance(word, str) else word for word in command]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


async def _answer(reader: asyncio.StreamReader) -> Any:
    line = (await reader.readuntil(b"\r\n"))[:-2]
    kind, rest = line[:1], line[1:]
    if kind == b"-":
        raise RedisError(rest.decode())
    if kind == b"$":
        return None if rest == b"-1" else (await reader.readexactly(int(rest) + 2))[:-2]
    if kind == b"*":
        return None if rest == b"-1" else [await _answer(reader) for _ in range(int(rest))]
    return int(rest) if kind == b":" else rest.decode()
