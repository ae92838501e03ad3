"""An agent that sums up: in one call of the model while the texts fit into it, else part by part."""

import asyncio
from typing import Any

import msgspec
from msgspec import Struct

from .. import Agent, BadMessage, Message, Request, on
from .tasks import Work, task_of, together

INSTRUCTIONS = (
    "You write summaries. The user gives you JSON with the texts, each with its title and source where known. "
    "Answer with one summary of all of them: plain sentences, the main points first, nothing that is not in the texts."
)
PARALLEL = 4  # calls of the model at once


class Item(Struct, frozen=True, omit_defaults=True):
    """A text to sum up."""

    content: str
    title: str = ""
    source: str = ""


class Summarize(Request[str], frozen=True):
    """Sum these texts up, and what other steps of a workflow found; `task` says what matters."""

    data: list[Item] = []
    task: str = ""
    inputs: dict[str, Any] = {}


class Summarizer(Agent):
    """Answers `{"llm_task": "summarize", "data": [{"title", "content", "source"}]}`, or `Summarize`, with the summary: a string.

    `max_chars`: of the texts in one call of the model (four characters are about a token). What is more is summed up in parts, and
    the summaries of the parts again; with a durable backend each call is a journaled step. State: `last_summary`.
    """

    def __init__(self, max_chars: int = 24_000, instructions: str = INSTRUCTIONS) -> None:
        if max_chars < 100:
            raise ValueError(f"max_chars is {max_chars}; below 100 there is no room for a text")
        self.max_chars = max_chars
        self.instructions = instructions

    async def receive(self, message: Message) -> str:
        return await self.summarize(task_of(message.payload, {"summarize": Summarize}))

    @on
    async def work(self, msg: Work) -> Any:
        if not msg.inputs:
            return await self.summarize(Summarize([Item(msg.task)]))
        return await self.summarize(Summarize(task=msg.task, inputs=msg.inputs))

    @on
    async def summarize(self, msg: Summarize) -> str:
        items = [*msg.data, *(Item(_text(value), title=name) for name, value in msg.inputs.items())]
        if not items:
            raise BadMessage("summarize: there is nothing in `data`; give it a list of {title, content, source}.", field="data")
        gate = asyncio.Semaphore(PARALLEL)
        while len(parts := packed(items, self.max_chars)) > 1:
            texts = await together(self._call(msg.task, part, gate) for part in parts)
            # No more than a quarter of a call: so four fit into the next one, and the rounds come to an end.
            items = [Item(text[: self.max_chars // 4]) for text in texts]
            self.log.info("%d parts summed up", len(parts))
        summary = await self._call(msg.task, parts[0], gate)
        self.state["last_summary"] = summary
        return summary

    async def _call(self, task: str, items: list[Item], gate: asyncio.Semaphore) -> str:
        asked = {"task": task, "data": items} if task else {"data": items}
        async with gate:
            completion = await self.llm.complete(msgspec.json.encode(asked).decode(), system=self.instructions)
        return completion.text.strip()


def packed(items: list[Item], max_chars: int) -> list[list[Item]]:
    """The items in order, in as few parts as `max_chars` allows; one that is longer than a part is cut.

    >>> [[item.content for item in part] for part in packed([Item("ab"), Item("cd"), Item("efghijk")], 4)]
    [['ab', 'cd'], ['efgh'], ['ijk']]
    """
    parts: list[list[Item]] = []
    room = 0
    for item in items:
        title, source = item.title[: max_chars // 4], item.source[: max_chars // 4]  # they are in each piece
        step = max_chars - len(title) - len(source)
        for start in range(0, max(len(item.content), 1), step):
            piece = Item(item.content[start : start + step], title, source)
            size = len(piece.content) + len(title) + len(source)
            if not parts or size > room:
                parts.append([])
                room = max_chars
            parts[-1].append(piece)
            room -= size
    return parts


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
