"""Model servers for tests, on loopback: they speak the real wire, and misbehave as they are told to.

    with FakeOpenAI() as fake:                      # or FakeAnthropic
        fake.script(Answer("hello"), refusal(429, retry_after=2), Answer(tools=(("add", {"a": 1}),)))
        ...                                         # anything that talks to fake.url, from this process or another
        assert len(fake.requests) == 3

Without a script they answer `echo: ` and what was asked, or the smallest value of the schema that was given. They check requests as the
real servers do and answer 400 to what those refuse. Each runs in a thread of its own, so that times of arrival are true while the test
is busy, and so that a test without an event loop can use it.
"""

import asyncio
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self

import msgspec
from msgspec import Struct

from ..llm.base import Stop, Usage
from .llm_anthropic import MessagesDialect
from .llm_openai import ChatDialect, ResponsesDialect
from .llm_wire import Dialect, Refusal, Said, minimal, text_of
from .waiting import TIMEOUT, until

# The connection breaks at once; in the middle of the answer; the answer is no JSON; the server says in the middle that it failed.
Fault = Literal["reset", "cut", "garbage", "failure"]

_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests", 529: "Overloaded"}


class Answer(Struct, frozen=True):
    """What a fake does about one request: answer with a text, or call tools by (name, arguments), or fail.

    `arguments` may be text that is no JSON. `usage` is counted in words if it is not given. `delay` in seconds, before anything is sent.
    With a `status` other than 200 `text` is the message of the error and `kind` the provider's word for it.
    """

    text: str = ""
    tools: tuple[tuple[str, dict[str, Any] | str], ...] = ()
    stop: Stop | None = None
    usage: Usage | None = None
    delay: float = 0.0
    status: int = 200
    kind: str = ""
    headers: dict[str, str] = {}
    fault: Fault | None = None


def refusal(status: int, text: str = "", *, kind: str = "", retry_after: float | None = None) -> Answer:
    """An error answer, with the header `retry-after` if that is given."""
    headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
    return Answer(text or f"refused with status {status}", status=status, kind=kind, headers=headers)


class Request(Struct):
    """A request as it came. `at` is `time.monotonic()`; `outcome` is "waiting" until it is answered, or "lost" with its client."""

    number: int
    at: float
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    asked: str = ""  # the last thing that the user, or a tool, said
    outcome: Literal["waiting", "answered", "refused", "broken", "lost"] = "waiting"


class Fake:
    """What both have. `key`: the only one it takes. `schemas`: whether it knows JSON schemas for answers."""

    dialects: ClassVar[dict[str, Dialect]]

    def __init__(self, *, key: str | None = None, schemas: bool = True) -> None:
        self.requests: list[Request] = []
        self.key = key
        self.schemas = schemas
        self.rule: Callable[[Request], Answer | None] | None = None
        self._script: deque[Answer] = deque()
        self._port = 0
        self._loop = asyncio.new_event_loop()
        self._gate = asyncio.Event()
        self._gate.set()
        self._held: list[Request] = []
        self._passes = 0  # held requests that may go on although the gate is closed
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)
        self._is_up = threading.Event()
        self._stop = asyncio.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen. A fake is started once."""
        self._thread.start()
        self._is_up.wait(TIMEOUT)

    def stop(self) -> None:
        """Hang up on everybody; nothing listens any more. What was recorded stays."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(TIMEOUT)

    @property
    def url(self) -> str:
        """Its base_url."""
        return f"http://127.0.0.1:{self._port}"

    def script(self, *answers: Answer) -> None:
        """What to answer the next requests with, whatever they ask."""
        self._script.extend(answers)

    def hold(self) -> None:
        """From now on requests are taken and recorded, but not answered."""
        self._call(self._gate.clear)

    def release(self, count: int | None = None) -> None:
        """Answer what is held, and hold no more; or let `count` through: those that wait longest, or the next to come."""

        def let_go() -> None:
            if count is None:
                self._gate.set()
            else:
                self._passes += count

        self._call(let_go)

    def waiting(self) -> list[Request]:
        """Those that came and are not answered yet."""
        return [request for request in self.requests if request.outcome == "waiting"]

    def wait_requests(self, count: int, timeout: float = TIMEOUT) -> None:
        """Block until so many have come in all. In an event loop: `await eventually(lambda: len(fake.requests) >= count)`."""
        until(lambda: len(self.requests) >= count, timeout)

    def most_in(self, seconds: float) -> int:
        """The most requests that came within any span of so many seconds."""
        times = sorted(request.at for request in self.requests)
        return max((sum(1 for other in times[place:] if other - at < seconds) for place, at in enumerate(times)), default=0)

    def _call(self, function: Callable[[], None]) -> None:
        """Have it done in the loop's thread, before this returns."""
        done = threading.Event()

        def call() -> None:
            function()
            done.set()

        self._loop.call_soon_threadsafe(call)
        done.wait(TIMEOUT)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=1024)
        self._port = server.sockets[0].getsockname()[1]
        self._is_up.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._converse(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                await self._one(head[0].split()[1], headers, body, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one(
        self, path: str, headers: dict[str, str], raw: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        at = time.monotonic()
        dialect = self.dialects.get(path.removeprefix("/v1"))
        body = msgspec.json.decode(raw) if raw else {}
        request = Request(len(self.requests) + 1, at, path, headers, body)
        try:
            answer = self._answer(dialect, request)
        except Refusal as error:
            answer = refusal(error.status, error.message, kind=error.kind)
        # Written down only now: who sees the request knows that its answer is chosen.
        self.requests.append(request)
        await self._pass(request, reader)
        await asyncio.sleep(answer.delay)
        if reader.at_eof():
            request.outcome = "lost"
            raise ConnectionResetError("the client is gone")
        request.outcome = "broken" if answer.fault else "answered" if answer.status == 200 else "refused"
        if answer.fault == "reset":
            # Closed with a time to linger of 0, a socket sends RST.
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            raise ConnectionResetError("as told")
        await self._send(writer, dialect or ChatDialect(), request, answer)

    def _answer(self, dialect: Dialect | None, request: Request) -> Answer:
        if dialect is None:
            raise Refusal(f"Invalid URL (POST {request.path})", 404)
        given = request.headers.get("x-api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")
        if not given or self.key not in (None, given):
            # The real one names the key too, most of it starred out; a careless proxy does not.
            raise Refusal(f"Incorrect API key provided: {given}.", 401)
        dialect.check(request.body, schemas=self.schemas)
        request.asked = dialect.asked(request.body)
        answer = self.rule(request) if self.rule is not None else None
        if answer is None and self._script:
            answer = self._script.popleft()
        if answer is None:
            schema = dialect.schema(request.body)
            answer = Answer(f"echo: {request.asked}" if schema is None else text_of(minimal(schema)))
        return answer

    async def _pass(self, request: Request, reader: asyncio.StreamReader) -> None:
        """Wait while requests are held, or until the client is gone."""
        self._held.append(request)
        while not (self._gate.is_set() or reader.at_eof()):
            if self._passes and self._held[0] is request:
                self._passes -= 1
                break
            await asyncio.sleep(0.001)
        self._held.remove(request)

    async def _send(self, writer: asyncio.StreamWriter, dialect: Dialect, request: Request, answer: Answer) -> None:
        headers = {"x-request-id": f"req_{request.number}", "request-id": f"req_{request.number}", **answer.headers}
        if answer.fault == "failure" and not request.body.get("stream"):
            answer = refusal(500, "failed as told")
        if answer.status != 200:
            await _whole(
                writer, answer.status, headers, msgspec.json.encode(dialect.error(answer.status, answer.kind, answer.text))
            )
            return
        said = Said(
            answer.text,
            answer.tools,
            answer.stop or ("tool" if answer.tools else "end"),
            answer.usage or Usage(len(request.asked.split()), len(answer.text.split()) or 1),
            request.body.get("model", ""),
            request.number,
        )
        if request.body.get("stream"):
            await _streamed(writer, headers, dialect, said, request.body, answer.fault)
            return
        data = msgspec.json.encode(dialect.answer(said))
        if answer.fault == "garbage":
            data = data[: len(data) // 2]
        await _whole(writer, 200, headers, data, is_cut=answer.fault == "cut")


async def _whole(
    writer: asyncio.StreamWriter, status: int, headers: dict[str, str], data: bytes, *, is_cut: bool = False
) -> None:
    headers = {"content-type": "application/json", "content-length": str(len(data)), **headers}
    _head(writer, status, headers)
    writer.write(data[: len(data) // 2] if is_cut else data)
    await writer.drain()
    if is_cut:
        raise ConnectionResetError("as told")


async def _streamed(
    writer: asyncio.StreamWriter, headers: dict[str, str], dialect: Dialect, said: Said, body: dict[str, Any], fault: Fault | None
) -> None:
    _head(writer, 200, {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked", **headers})
    events = list(dialect.events(said, body))
    # In the middle: after the first pieces, long before the end.
    for name, event in events[: len(events) // 2 + 1] if fault else events:
        _chunk(writer, _event(name, event))
        await writer.drain()
    if fault == "garbage":
        _chunk(writer, _event(*events[-1])[:-10] + "\n\n")
    if fault == "cut":
        raise ConnectionResetError("as told")
    if fault == "failure":
        events = [dialect.failure("failed as told")]
        _chunk(writer, _event(*events[0]))
    if events[0][0] is None:
        _chunk(writer, "data: [DONE]\n\n")
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def _head(writer: asyncio.StreamWriter, status: int, headers: dict[str, str]) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}\r\n{lines}\r\n".encode())


def _event(name: str | None, data: dict[str, Any]) -> str:
    return f"{f'event: {name}' if name else ''}\ndata: {msgspec.json.encode(data).decode()}\n\n".lstrip("\n")


def _chunk(writer: asyncio.StreamWriter, text: str) -> None:
    data = text.encode()
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))


class FakeOpenAI(Fake):
    """The chat completions API and the responses API."""

    dialects: ClassVar[dict[str, Dialect]] = {"/chat/completions": ChatDialect(), "/responses": ResponsesDialect()}

    @property
    def url(self) -> str:
        return f"{super().url}/v1"


class FakeAnthropic(Fake):
    """The messages API."""

    dialects: ClassVar[dict[str, Dialect]] = {"/messages": MessagesDialect()}
