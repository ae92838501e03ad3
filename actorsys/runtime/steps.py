"""Journaled steps: what a handler does to the outside world, done once although its message is delivered again.

The result of a step is stored under the id of the message, in the agent's own backend; when the message is delivered again, a
finished step returns what it returned. A step that must not repeat stores its intent first: if the process dies before the result is
stored, nobody knows whether it happened, and the next delivery raises `StepInDoubt`. Rows go with the frame that acknowledges the message.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from ..errors import ActorError, StateError, StepInDoubt
from ..mailbox.codec import decode, encode
from ..memory.step_rows import PREFIX, Row, listing
from .context import Delivery
from .state import Changes

Commit = Callable[[Changes], Awaitable[None]]


class Steps:
    def __init__(self, stored: dict[str, bytes], run: str, commit: Commit, *, is_durable: bool) -> None:
        self.rows = stored
        self._run = run
        self._commit = commit
        self._is_durable = is_durable

    async def perform(
        self, delivery: Delivery | None, name: str, function: Callable[..., Any], args: tuple[Any, ...], *, repeatable: bool
    ) -> Any:
        """See `Agent.step`."""
        if delivery is None or not delivery.is_open:
            raise ActorError("self.step works inside a handler only: its result is kept under the id of the message")
        if not self._is_durable:
            raise StateError(f'self.step({name!r}) needs a durable backend; set memory = "sqlite" for this agent', key=name)
        key = self._key(delivery.letter.id, name)
        if delivery.steps is None:
            delivery.steps = set()
        if name in delivery.steps:
            raise ActorError(f"self.step({name!r}) was called twice for one message; give each step a name of its own")
        delivery.steps.add(name)
        row = self._row(key)
        if row is not None and row.status == "done":
            return decode(row.result)
        if not repeatable:
            if row is not None:
                raise StepInDoubt(
                    f"step {name!r} was begun, and the process died before its result was stored: it may or may not have happened. "
                    "Find out, then finish without it or fail.",
                    name=name,
                )
            await self._store(key, Row("begun", name))
        result = function(*args)
        if inspect.isawaitable(result):
            result = await result
        await self._store(key, Row("done", name, encode(result)))
        return result

    def numbered(self, delivery: Delivery, kind: str, digest: str) -> str:
        """A name `kind/n/digest` for a step of this delivery: the first stored one that fits and was not taken yet, else with the next n."""
        begun = delivery.steps or set()
        prefix = self._key(delivery.letter.id, "")
        numbers = {}
        for name in (*(key.removeprefix(prefix) for key in self.rows if key.startswith(prefix)), *begun):
            parts = name.split("/")
            if len(parts) == 3 and parts[0] == kind and parts[1].isdigit():
                numbers[int(parts[1])] = name
        for _, name in sorted(numbers.items()):
            if name.endswith(f"/{digest}") and name not in begun:
                return name
        return f"{kind}/{max(numbers, default=0) + 1}/{digest}"

    def forget(self, letter_id: int) -> Changes:
        """Deletes the rows of a message; part of the frame that acknowledges it."""
        prefix = self._key(letter_id, "")
        keys = [key for key in self.rows if key.startswith(prefix)]
        for key in keys:
            del self.rows[key]
        return dict.fromkeys(keys)

    def forget_all_but(self, run: str) -> Changes:
        """Deletes what is left of earlier runs, whose messages never come again."""
        keys = [key for key in self.rows if not key.startswith(f"{PREFIX}{run}.")]
        for key in keys:
            del self.rows[key]
        return dict.fromkeys(keys)

    def listing(self) -> bytes:
        """What `actorsys steps` shows, encoded."""
        return encode(listing(self.rows))

    def _row(self, key: str) -> Row | None:
        data = self.rows.get(key)
        return None if data is None else decode(data, Row)

    async def _store(self, key: str, row: Row) -> None:
        self.rows[key] = data = encode(row)
        await self._commit({key: data})

    def _key(self, letter_id: int, name: str) -> str:
        return f"{PREFIX}{self._run}.{letter_id}/{name}"
