"""State in the agent's own process: as fast as a dict, gone with the process."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..mailbox.codec import decode
from .base import MIB, MemoryContext, Restored, encoded


class InMemory:
    is_durable = False
    value_bytes = 64 * MIB
    total_bytes = 1024 * MIB

    def __init__(self, context: MemoryContext | None = None) -> None:
        self._values: dict[str, bytes] = {}

    async def open(self, run: str) -> Restored:
        return Restored({})

    async def peek(self) -> dict[str, bytes]:
        return dict(self._values)

    async def commit(self, changes: Mapping[str, bytes | None], message_ids: Sequence[str], frame: bytes) -> None:
        for key, value in changes.items():
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value

    def confirmed(self, message_ids: Sequence[str]) -> None:
        return None

    async def store(self, key: str, value: Any) -> None:
        self._values[key] = encoded(key, value, self.value_bytes)

    async def retrieve(self, key: str) -> Any:
        value = self._values.get(key)
        return None if value is None else decode(value)

    async def delete(self, key: str) -> None:
        self._values.pop(key, None)

    async def list_keys(self, prefix: str = "") -> list[str]:
        return sorted(key for key in self._values if key.startswith(prefix))

    async def clear(self) -> None:
        self._values.clear()

    async def close(self) -> None:
        return None
