"""A language model without a model: the same call gets the same answer, at once and without network.

It answers with sentences of the prompt, with a value of the schema, or by a script: rules, of which the first that fits a call and
is not used up says what happens, an error included. Tools are called by the script only. Tokens are words.
"""

import asyncio
import json
import math
import re
import time
import tomllib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from ..errors import BadCompletion, BadModelCall, ConfigError, ModelAuthError, ModelError, ModelUnavailable
from .base import Call, Completion, Stop, Usage
from .extract import answer, value_of
from .wire import tool_call

GARBAGE = '{"answer": [1, 2,'  # cut off, as of a server that lost the connection to its model
AUTH = (401, 402, 403)
PASSING = (408, 409, 429)


class Scripted(Struct, frozen=True, forbid_unknown_fields=True):
    """A tool call of a script."""

    name: str
    arguments: dict[str, Any] = {}


class Rule(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What happens to a call whose last user turn `match` (a regular expression) is found in; `times`: at most so often, 0 for always.

    One of `text`, `json`, `tool_calls` is the answer, or `error` an HTTP status, "timeout", or "garbage": text that is cut off.
    `delay`: seconds until it comes.
    """

    match: str = ""
    times: int = 0
    text: str | None = None
    json: Any = None
    tool_calls: tuple[Scripted, ...] = ()
    error: int | Literal["timeout", "garbage"] | None = None
    retry_after: float | None = None
    delay: float = 0.0
    usage: Usage | None = None


Script = str | Path | Sequence[Rule]


def read_script(path: str | Path) -> tuple[Rule, ...]:
    """The rules in a TOML file ([[rules]] tables) or a JSON file (a list). Raises ConfigError."""
    file = Path(path)
    try:
        text = file.read_text()
        found = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
        rules = found.get("rules", ()) if isinstance(found, dict) else found
        return _checked(msgspec.convert(rules, tuple[Rule, ...]))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}", where=str(file)) from None
    except (ValueError, re.error) as error:  # of JSON, TOML, UTF-8, msgspec
        raise ConfigError(f"{file}: no script: {error}", where=str(file)) from None


def _checked(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    for rule in rules:
        re.compile(rule.match)
        for seconds in (rule.delay, rule.retry_after or 0.0):
            if not 0 <= seconds < math.inf:
                raise ValueError(f"{seconds} is no number of seconds")
    return rules


class MockProvider:
    """`script`: a file, or rules. Its rules count the calls of this process. `calls` holds those that were made."""

    name = "mock"

    def __init__(self, script: Script | None = None) -> None:
        rules = read_script(script) if isinstance(script, str | Path) else _checked(tuple(script or ()))
        self._rules = rules
        self._used = [0] * len(rules)
        self.calls: list[Call] = []

    async def complete(self, call: Call) -> Completion:
        began = time.monotonic()
        self.calls.append(call)
        rule = self._rule(call)
        await self._wait(call, rule)
        if isinstance(rule.error, int):
            raise _failure(rule.error, call, rule.retry_after)
        calls = tuple(
            tool_call(f"call-{len(call.turns)}-{number}", each.name, each.arguments)
            for number, each in enumerate(rule.tool_calls, 1)
        )
        text, stop = _cut(_text(call, rule), call.max_tokens)
        usage = rule.usage or Usage(_words(call), len(text.split()))
        latency = time.monotonic() - began
        return Completion(text, calls, usage, call.model or "mock", self.name, "tool" if calls else stop, latency)

    async def stream(self, call: Call) -> AsyncIterator[str | Completion]:
        completion = await self.complete(call)
        for piece in re.findall(r"\s*\S+", completion.text):
            yield piece
            await asyncio.sleep(0)  # as a real one, it lets others run in between
        yield completion

    async def close(self) -> None:
        pass

    def _rule(self, call: Call) -> Rule:
        asked = next((turn.content for turn in reversed(call.turns) if turn.role == "user"), "")
        for number, rule in enumerate(self._rules):
            if not (rule.times and self._used[number] >= rule.times) and re.search(rule.match, asked):
                self._used[number] += 1
                return rule
        return Rule()

    async def _wait(self, call: Call, rule: Rule) -> None:
        delay = rule.delay or (call.timeout if rule.error == "timeout" else 0.0)
        await asyncio.sleep(min(delay, call.timeout))
        if rule.error == "timeout" or delay > call.timeout:
            raise ModelUnavailable("mock: no answer in time.", provider=self.name, model=call.model)


def _text(call: Call, rule: Rule) -> str:
    if rule.error == "garbage":
        return GARBAGE
    if rule.text is not None:
        return rule.text
    if rule.json is not None:
        return json.dumps(rule.json, ensure_ascii=False)
    if rule.tool_calls:
        return ""
    if call.schema is not None:
        return json.dumps(value_of(call.schema, call.turns), ensure_ascii=False)
    return answer(call.turns)


def _cut(text: str, max_tokens: int) -> tuple[str, Stop]:
    words = re.findall(r"\s*\S+", text)
    return ("".join(words[:max_tokens]), "length") if len(words) > max_tokens else (text, "end")


def _words(call: Call) -> int:
    return sum(len(turn.content.split()) for turn in call.turns)


def _failure(status: int, call: Call, retry_after: float | None) -> ModelError:
    """What a real provider raises for that status."""
    text = f"mock: status {status}, as its script says."
    details = {"provider": MockProvider.name, "model": call.model, "status": status}
    if status in PASSING or status >= 500:
        return ModelUnavailable(text, retry_after=retry_after, **details)
    if status in AUTH:
        return ModelAuthError(text, **details)
    return BadModelCall(text, **details) if status >= 400 else BadCompletion(text, text="", **details)
