"""An agent that thinks before it acts: it observes a message, orients itself by what was said before, has a model decide, and acts.

`Ooda` lives under a supervisor, `OodaComms` is a class for a program of yours on NATS. Both turn the same `Loop`.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import msgspec

from .. import Agent, ConfigError, Message
from ..comms import AgentComms
from ..llm import LLM, Profile, Turn

INSTRUCTIONS = (
    "You are an agent among other agents. Answer each message, shortly and in plain words. Where a tool can find something out or get "
    "something done, use it instead of guessing."
)
MAX_CHARS = 4_000  # of one message that is remembered
TOOL_SECONDS = 60.0  # for which one call of a tool is waited
TWINS = {"LLM_PROVIDER": "provider", "LLM_MODEL": "model", "LLM_MAX_TOKENS": "max_tokens", "LLM_TIMEOUT_SECONDS": "timeout"}

Tool = Callable[..., Any]
Ask = Callable[[str, str], Awaitable[Any]]


class Loop:
    """One message after the other, each until the model wants no more tools. `tools`: functions, or "module:function".

    `history` messages, answers included, are remembered. `agents` are the names that the model may `ask`.
    One call of a tool has `tool_timeout` seconds, 0 for no limit.
    """

    def __init__(
        self,
        instructions: str,
        model: str,
        tools: Sequence[str | Tool],
        max_steps: int,
        history: int,
        agents: Sequence[str],
        ask: Ask,
        tool_timeout: float,
    ) -> None:
        if max_steps < 1:
            raise ConfigError(f"max_steps is {max_steps}; at least one is needed to answer.", where="max_steps")
        self._instructions = instructions
        self._model = model or None  # None: the profile's
        self._tools = [_tool(each) if isinstance(each, str) else each for each in tools]
        if agents:
            self._tools.append(_asking(tuple(agents), ask))
        self._max_steps = max_steps
        self._tool_timeout = tool_timeout or None
        self._history = history // 2 * 2  # a question goes with its answer

    async def turn(
        self, llm: LLM, before: Sequence[Mapping[str, str]], sender: str, content: Any
    ) -> tuple[str, list[dict[str, str]]]:
        """The answer to a message, and what to remember from now on, of which `before` is what was remembered so far."""
        seen = _observed(sender, content)
        turns = [*(msgspec.convert(each, Turn) for each in before), Turn("user", seen)]
        # Decide and act, again and again, is the tool loop of `complete`: parallel calls, an end after max_steps, none in circles.
        completion = await llm.complete(
            turns,
            system=self._instructions,
            tools=self._tools,
            model=self._model,
            max_steps=self._max_steps,
            tool_timeout=self._tool_timeout,
        )
        said = [{"role": "user", "content": seen[:MAX_CHARS]}, {"role": "assistant", "content": completion.text[:MAX_CHARS]}]
        remembered = [*map(dict, before), *said]
        return completion.text, remembered[-self._history :] if self._history > 0 else []


class Ooda(Agent):
    """Answers any message with what its model says, which may use `tools` ("module:function" each) and ask the other `agents`.

    With a durable backend each call of the model and of a tool is a journaled step. State: `history`.
    """

    def __init__(
        self,
        instructions: str = INSTRUCTIONS,
        model: str = "",
        tools: Sequence[str | Tool] = (),
        max_steps: int = 8,
        history: int = 20,
        agents: Sequence[str] = (),
        tool_timeout: float = TOOL_SECONDS,
    ) -> None:
        self._loop = Loop(instructions, model, tools, max_steps, history, agents, self._ask, tool_timeout)

    async def receive(self, message: Message) -> str:
        sender = "" if message.sender.startswith("$") else message.sender  # "$host": the command line, or the program around
        answer, self.state["history"] = await self._loop.turn(self.llm, self.state.get("history", []), sender, message.payload)
        return answer

    async def _ask(self, name: str, message: str) -> Any:
        return await self.agent(name).ask(message)


class OodaComms(AgentComms):
    """The same without a supervisor: `await OodaComms("helper", tools=[look]).run_with_nats()`.

    It answers requests, direct messages and handoffs, one after the other; what it remembers ends with it. `llm` is made of LLM_PROVIDER
    and the others of the environment unless given. Raises ConfigError for wrong ones.
    """

    def __init__(
        self,
        name: str,
        instructions: str = INSTRUCTIONS,
        model: str = "",
        tools: Sequence[str | Tool] = (),
        max_steps: int = 8,
        history: int = 20,
        agents: Sequence[str] = (),
        llm: LLM | None = None,
        tool_timeout: float = TOOL_SECONDS,
    ) -> None:
        self.name = name
        super().__init__()
        self.history: list[dict[str, str]] = []
        self._loop = Loop(instructions, model, tools, max_steps, history, agents, self._ask, tool_timeout)
        self._llm = llm or LLM({"default": profile_of(os.environ)}, "default")
        self._turn = asyncio.Lock()  # a request and a direct message may come at once

    async def run(self, message: Message) -> str:
        async with self._turn:
            answer, self.history = await self._loop.turn(self._llm, self.history, message.sender, message.payload)
        return answer

    async def agentic_run(self, message: Message) -> str:
        return await self.run(message)

    async def disconnect_nats(self) -> None:
        await super().disconnect_nats()
        await self._llm.close()

    async def _ask(self, name: str, message: str) -> Any:
        return await self.request_from_agent(name, message)


def profile_of(environ: Mapping[str, str]) -> Profile:
    """What the environment says about the model. Raises ConfigError.

    >>> profile_of({"LLM_PROVIDER": "openai", "LLM_MAX_TOKENS": "200"}).max_tokens
    200
    """
    values = {key: text for variable, key in TWINS.items() if (text := environ.get(variable, "").strip())}
    try:
        return msgspec.convert(values, Profile, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{', '.join(TWINS)}: {error}", where="LLM_PROVIDER") from None


def _observed(sender: str, content: Any) -> str:
    text = content if isinstance(content, str) else msgspec.json.encode(content).decode()
    return f"{sender} says:\n\n{text}" if sender else text


def _tool(path: str) -> Tool:
    """The function at "module:function". Raises ConfigError."""
    module, _, name = path.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f'{path!r} is no tool: {error}. Write a function as "module:function".', where="tools") from error
    if not callable(found):
        raise ConfigError(f"{path!r} is no tool: a {type(found).__name__} cannot be called.", where="tools")
    return found  # type: ignore[no-any-return]  # callable() says so


def _asking(names: tuple[str, ...], ask: Ask) -> Tool:
    async def ask_agent(name: str, message: str) -> Any:
        if name not in names:
            raise ValueError(f"{name!r} is none of {', '.join(names)}")
        return await ask(name, message)

    ask_agent.__doc__ = f"Ask another agent and get its answer. There are: {', '.join(names)}."
    return ask_agent
