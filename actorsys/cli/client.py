"""Talk to a running supervisor: one line of JSON there, one line back (of a stream: one a part), over its control socket."""

import socket
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from ..errors import AskTimeout, Unreachable
from ..messages import Failure

CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 10.0


class _Answer(msgspec.Struct):
    ok: bool
    data: Any = None
    end: bool = False  # of a stream
    error: Failure | None = None


class Client:
    """One supervisor, by the path of its control socket. Each call is a connection of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def call(self, command: str, args: dict[str, Any] | None = None, *, timeout: float = ANSWER_TIMEOUT_S) -> Any:
        """The data that the supervisor answers with.

        Raises Unreachable when nobody is there or the connection breaks, AskTimeout when there is no answer within `timeout`
        seconds, and whatever error the supervisor reports.
        """
        with closing(self._lines(command, args or {}, timeout)) as lines:
            return self._read(next(lines, b"")).data

    def stream(self, args: dict[str, Any], *, timeout: float) -> Iterator[Any]:
        """The parts that an agent answers with, as they come; raises what `call` raises, `timeout` being that of each part."""
        with closing(self._lines("stream", args, timeout)) as lines:
            while not (answer := self._read(next(lines, b""))).end:
                yield answer.data

    def _lines(self, command: str, args: dict[str, Any], timeout: float) -> Generator[bytes, None, None]:
        with self._connect() as connection, connection.makefile("rb") as lines:
            connection.settimeout(timeout)
            try:
                connection.sendall(msgspec.json.encode({"do": command, "args": args}) + b"\n")
                yield from lines
            except TimeoutError:
                raise AskTimeout(f"the supervisor at {self.path} did not answer within {timeout:g} s") from None
            except OSError as error:
                raise Unreachable(f"the connection to the supervisor at {self.path} broke: {error.strerror}") from None

    def _read(self, line: bytes) -> _Answer:
        if not line.endswith(b"\n"):
            raise Unreachable(f"the supervisor at {self.path} closed the connection before it had answered")
        try:
            answer = msgspec.json.decode(line, type=_Answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unreachable(f"what answers at {self.path} is no supervisor of this version: {error}") from None
        if answer.ok:
            return answer
        raise (answer.error or Failure(kind="ActorError", type="", message="the supervisor gave no reason")).error()

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(CONNECT_TIMEOUT_S)
        try:
            connection.connect(str(self.path))
        except OSError as error:
            connection.close()
            raise Unreachable(f"no supervisor answers at {self.path}: {_reason(error)}") from None
        return connection


def _reason(error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return "there is no such socket"
        case ConnectionRefusedError():
            return "the one that made this socket is gone"
        case TimeoutError():
            return "it does not accept connections"
        case _:
            return error.strerror or str(error)
