"""The unix socket that the command line talks to: one JSON line in, one JSON line out (of a stream: one a part)."""

import asyncio
import contextlib
import logging
import os
import socket
import struct
from pathlib import Path
from typing import Any

import msgspec

from ..errors import ActorError, BadMessage
from ..mailbox.codec import DECODE_ERRORS, bad_message
from ..messages import Failure
from .commands import Commands

log = logging.getLogger("actorsys.supervisor")

LINE_BYTES = 16 * 2**20  # a request may carry a payload of the largest size


class Request(msgspec.Struct, frozen=True):
    do: str
    args: dict[str, Any] = {}


_decode = msgspec.json.Decoder(Request).decode


class Control:
    """Serves one socket, mode 0600; a caller of another user is refused."""

    def __init__(self, path: Path, commands: Commands) -> None:
        self._path = path
        self._commands = commands
        self._server: asyncio.Server | None = None
        self._callers: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; a socket left by a killed supervisor is replaced, as we hold the lock of the state directory."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        old = os.umask(0o177)
        try:
            listener.bind(str(self._path))
        finally:
            os.umask(old)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=LINE_BYTES)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for caller in self._callers:
                caller.cancel()
            await asyncio.gather(*self._callers, return_exceptions=True)
            await self._server.wait_closed()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._callers.add(task)
        try:
            if _is_stranger(writer.get_extra_info("socket")):
                log.warning("control socket: refused a caller of another user")
                return
            while line := await self._read(reader):
                writer.write(await self._answer(line, reader, writer) + b"\n")
                await writer.drain()
        except (ConnectionError, BadMessage, asyncio.CancelledError):
            pass
        finally:
            self._callers.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.readline()
        except ValueError as error:  # longer than the limit
            raise BadMessage(f"a request is at most {LINE_BYTES} bytes long") from error

    async def _answer(self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        try:
            try:
                request = _decode(line)
            except DECODE_ERRORS as error:
                raise bad_message(error, "request") from error
            if request.do == "stream":
                await self._stream(request.args, reader, writer)
                return msgspec.json.encode({"ok": True, "end": True})
            return msgspec.json.encode({"ok": True, "data": await self._commands(request.do, request.args)})
        except ActorError as error:
            failure = Failure.of(error, with_traceback=False)
        except Exception as error:  # a bug of ours must not take the supervisor down, nor stay silent
            log.exception("control command failed")
            failure = Failure.of(error)
        return msgspec.json.encode({"ok": False, "error": failure})

    async def _stream(self, args: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on the parts of an answer, a line for each, until they end or the caller has left."""
        caller = asyncio.current_task()
        assert caller is not None
        leaving = asyncio.ensure_future(reader.read(1))  # a caller that is being served says nothing
        leaving.add_done_callback(lambda left: None if left.cancelled() else caller.cancel())
        try:
            async with contextlib.aclosing(self._commands.stream(args)) as parts:
                async for part in parts:
                    writer.write(msgspec.json.encode({"ok": True, "data": part}) + b"\n")
                    await writer.drain()
        finally:
            leaving.cancel()
            await asyncio.wait([leaving])  # two may not read at once


def _is_stranger(connection: socket.socket) -> bool:
    """Whether the caller runs as another user; on systems without SO_PEERCRED the mode of the socket has to do."""
    if not hasattr(socket, "SO_PEERCRED"):
        return False
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return uid not in (os.getuid(), 0)
