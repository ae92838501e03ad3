"""Where an agent's state is kept: the protocol of a memory backend, and how one is chosen by name."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from ..errors import ConfigError
from ..names import did_you_mean


class StoredFrame(Struct, frozen=True):
    """A frame that was committed but maybe not taken: if one of its messages is delivered again, it is sent again as it is."""

    message_ids: tuple[str, ...]
    frame: bytes


class Restored(Struct, frozen=True):
    """What a backend holds when its agent starts: encoded values by key, and frames without confirmation."""

    values: dict[str, bytes]
    frames: tuple[StoredFrame, ...] = ()


@runtime_checkable
class Memory(Protocol):
    """A backend. `is_durable`: what it committed is there after the agent's process died, however it died."""

    is_durable: bool

    async def open(self, run: str) -> Restored:
        """Connect and read. Frames of another `run` of the supervisor are purged: nobody will deliver their messages again."""
        ...

    async def commit(self, changes: Mapping[str, bytes | None], message_ids: Sequence[str], frame: bytes) -> None:
        """Store all of it, or nothing: encoded values by key (None: delete), and the frame that acknowledges the messages."""
        ...

    def confirmed(self, message_ids: Sequence[str]) -> None:
        """The frame committed with these messages was taken; it may go, at once or with the next commit."""
        ...

    async def store(self, key: str, value: Any) -> None: ...
    async def retrieve(self, key: str) -> Any: ...
    async def delete(self, key: str) -> None: ...
    async def list_keys(self, prefix: str = "") -> list[str]: ...
    async def clear(self) -> None: ...
    async def close(self) -> None: ...


BUILT_IN = {"in_memory": "actorsys.memory.in_memory:InMemory", "sqlite": "actorsys.memory.sqlite:Sqlite"}


def create(memory: str, name: str, state_dir: Path) -> Memory:
    """The backend of that name, or "module:Class", for one agent. Raises ConfigError."""
    path = BUILT_IN.get(memory, memory)
    module, _, attribute = path.partition(":")
    if not attribute:
        raise ConfigError(f'memory = {memory!r} is no backend; there are {", ".join(BUILT_IN)} and "module:Class".'
                          f"{did_you_mean(memory, BUILT_IN)}", where="memory")  # fmt: skip
    try:
        backend = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"memory = {memory!r}: {error}", where="memory") from error
    made: Memory = backend(name, state_dir)
    return made
