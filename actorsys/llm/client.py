"""What `self.llm` is: a prompt in, an answer out; with tools, a form that the answer must have, or piece by piece."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Protocol

import msgspec
from msgspec import Struct, structs

from ..clock import now_ns
from ..errors import BadCompletion, BadModelCall
from ..units import SECOND_NS, format_seconds
from .base import Call, Completion, ToolCall, ToolSpec, Turn, Usage
from .fallback import Chain, Gate, Open, Way
from .schema import strict_schema
from .settings import Profile
from .tools import Tool, Toolbox, told

Prompt = str | Sequence[Turn]


class Journal(Protocol):
    """Who remembers, over the death of the process, what was done already for the message being handled."""

    async def step(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        """The result of `function(*args)`, as plain values if it was called in an earlier life."""
        ...


class Unwritten:
    """The journal of who has none."""

    async def step(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        return await function(*args)


class Request(Struct, frozen=True):
    """A call before it is known which profile it goes by. What is None is that profile's affair."""

    turns: tuple[Turn, ...]
    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    schema: dict[str, Any] | None = None
    schema_name: str = "answer"
    tools: tuple[ToolSpec, ...] = ()

    def call(self, way: Way, is_first: bool = True) -> Call:
        """The model asked for is one of the first profile's provider; others have their own."""
        profile = way.profile
        return Call(
            turns=self.turns,
            model=self.model if self.model is not None and is_first else profile.model,
            max_tokens=self.max_tokens or profile.max_tokens,
            temperature=self.temperature if self.temperature is not None else profile.temperature,
            schema=self.schema,
            schema_name=self.schema_name,
            tools=self.tools,
            timeout=profile.timeout,
        )


class LLM:
    """Calls models by the profile `name`; `deadline` tells how many seconds are left for what is going on, None for no limit.

    >>> import asyncio
    >>> llm = LLM({"default": Profile(provider="mock")}, "default")
    >>> asyncio.run(llm.complete("It is warm in Rome.")).text
    'It is warm in Rome.'
    """

    def __init__(
        self,
        profiles: Mapping[str, Profile],
        name: str,
        gate: Gate | None = None,
        journal: Journal | None = None,
        deadline: Callable[[], float | None] | None = None,
    ) -> None:
        self._chain = Chain(profiles, name, gate or Open())
        self._journal = journal or Unwritten()
        self._deadline = deadline or (lambda: None)

    async def complete(
        self,
        prompt: Prompt,
        *,
        system: str = "",
        schema: type | None = None,
        tools: Sequence[Tool] = (),
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        timeout: float | None = None,
        max_steps: int = 8,
        tool_timeout: float | None = None,
    ) -> Completion:
        """The model's answer. With `schema`, a Struct, it is `parsed` to one; `tools` are functions that the model may call.

        One try takes at most the profile's `timeout`, all of it what is left of the message's deadline and `timeout` seconds, and one
        tool no more than `tool_timeout` of them; the model is told of one that took too long, and a thread of it runs on. A model that
        goes on calling tools is stopped after `max_steps` answers. `usage` is that of all calls together.

        Raises ModelUnavailable, ModelAuthError, BadModelCall, BadCompletion, and BudgetExceeded.
        """
        if max_steps < 1:
            raise BadModelCall(f"max_steps must be 1 or more, not {max_steps}.")
        box = Toolbox(tools)
        request = Request(
            turns=_turns(prompt, system),
            model=model,
            max_tokens=max_tokens,
            temperature=temperature,
            schema=strict_schema(schema) if schema is not None else None,
            schema_name=schema.__name__ if schema is not None else "answer",
            tools=tuple(box.specs),
        )
        until = self._until(timeout)
        usage, is_repaired, steps = Usage(), False, 0
        while True:
            completion = await self._call(request, until)
            usage += completion.usage
            if completion.tool_calls and tools:
                steps += 1
                if steps >= max_steps:
                    raise _bad(completion, f"still wants to call tools after {max_steps} steps")
                turns = await self._run(box, completion, _least(tool_timeout, _left(until)))
            elif schema is None:
                return structs.replace(_kept(completion), usage=usage)
            else:
                try:
                    parsed: Any = msgspec.json.decode(completion.text, type=schema)
                    return structs.replace(completion, usage=usage, parsed=parsed)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                    if is_repaired or completion.stop != "end":
                        raise _bad(completion, f"is no {schema.__name__}: {error}") from error
                    is_repaired = True
                    turns = (Turn("assistant", completion.text), Turn("user", _REPAIR.format(error=error)))
            request = structs.replace(request, turns=(*request.turns, *turns))

    def stream(
        self,
        prompt: Prompt,
        *,
        system: str = "",
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        timeout: float | None = None,
    ) -> "Stream":
        """The answer as text in pieces: `async for piece in self.llm.stream(...)`. Raises, while it is read, what `complete` raises."""
        request = Request(_turns(prompt, system), model, max_tokens, temperature)
        pieces = lambda: self._chain.stream(request.call, self._until(timeout))  # noqa: E731 - when it is read, not now
        return Stream(self._journal, f"llm/{self._digest(request)}", pieces)

    async def close(self) -> None:
        """End the connections to the providers."""
        await self._chain.close()

    async def _call(self, request: Request, until: int | None) -> Completion:
        name = f"llm/{self._digest(request)}"
        return msgspec.convert(await self._journal.step(name, self._chain.complete, request.call, until), Completion)

    async def _run(self, box: Toolbox, completion: Completion, seconds: float | None) -> tuple[Turn, ...]:
        """All calls of one answer side by side, each for so long; the turns that come of them."""
        box.check(completion.tool_calls)
        texts = await asyncio.gather(
            *(
                self._journal.step(f"tool/{_digest((call.id, call.name, call.arguments))}", _within, seconds, box, call)
                for call in completion.tool_calls
            )
        )
        answers = [told(call, text) for call, text in zip(completion.tool_calls, texts, strict=True)]
        return (Turn("assistant", completion.text, completion.tool_calls), *answers)

    def _digest(self, request: Request) -> str:
        """Names a call; not its timeout, which is another after a crash."""
        first = self._chain.ways[0]
        return _digest((first.name, structs.replace(request.call(first), timeout=0.0)))

    def _until(self, timeout: float | None) -> int | None:
        seconds = _least(timeout, self._deadline())
        return None if seconds is None else now_ns() + int(seconds * SECOND_NS)


class Stream:
    """The pieces of an answer, to be read once; `completion` is there when it has been read to its end.

    Under a journal the answer is stored when it has ended; when its message is handled again, it comes as one piece.
    """

    def __init__(self, journal: Journal, name: str, pieces: Callable[[], AsyncIterator[str | Completion]]) -> None:
        self.completion: Completion | None = None
        self._journal, self._name, self._pieces = journal, name, pieces

    async def __aiter__(self) -> AsyncIterator[str]:
        queue: asyncio.Queue[Any] = asyncio.Queue(1)  # who reads slowly slows the provider down
        working = asyncio.ensure_future(self._work(queue))
        has_come = False
        try:
            while isinstance(item := await queue.get(), str):
                has_come = True
                yield item
            if isinstance(item, Exception):
                raise item
            self.completion = msgspec.convert(item, Completion)
            if not has_come and self.completion.text:
                yield self.completion.text
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def _work(self, queue: "asyncio.Queue[Any]") -> None:
        """Put the pieces, then the completion or the error."""
        try:
            last = await self._journal.step(self._name, self._produce, queue.put)
        except Exception as error:  # noqa: BLE001 - it is raised where the pieces are read
            last = error
        await queue.put(last)

    async def _produce(self, put: Callable[[str], Awaitable[None]]) -> Completion:
        completion = None
        async for piece in self._pieces():
            if isinstance(piece, Completion):
                completion = piece
            else:
                await put(piece)
        if completion is None:
            raise BadCompletion("the answer ended without saying so; it may be cut off.")
        return completion


_REPAIR = "That is not of the form asked for: {error}. Answer again, with nothing but the JSON value."


async def _within(seconds: float | None, box: Toolbox, call: ToolCall) -> str:
    try:
        async with asyncio.timeout(seconds):
            return await box.run(call)
    except TimeoutError:
        return f"error: no answer within {format_seconds(seconds or 0.0)}"


def _left(until: int | None) -> float | None:
    return None if until is None else max(0.0, (until - now_ns()) / SECOND_NS)


def _least(*limits: float | None) -> float | None:
    return min((seconds for seconds in limits if seconds is not None), default=None)


def _turns(prompt: Prompt, system: str) -> tuple[Turn, ...]:
    turns = (Turn("user", prompt),) if isinstance(prompt, str) else tuple(prompt)
    return (Turn("system", system), *turns) if system else turns


def _kept(completion: Completion) -> Completion:
    if completion.stop in ("filter", "length"):
        raise _bad(completion, "was held back by the provider's filter")
    return completion


def _bad(completion: Completion, text: str) -> BadCompletion:
    if completion.stop == "length":
        text = "was cut off; raise max_tokens"
    details = {"provider": completion.provider, "model": completion.model, "text": completion.text}
    return BadCompletion(f"the answer of {completion.model or completion.provider} {text}.", **details)


def _digest(value: Any) -> str:
    return blake2b(msgspec.msgpack.encode(value, order="sorted"), digest_size=8).hexdigest()
