"""Where an agent's state is kept: the protocol of a memory backend, and how one is chosen by name."""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from ..errors import BadMessage, ConfigError, StateError
from ..mailbox.codec import encode
from ..names import did_you_mean, token

MIB = 2**20


class StoredFrame(Struct, frozen=True):
    """A frame that was committed but maybe not taken: if one of its messages is delivered again, it is sent again as it is."""

    message_ids: tuple[str, ...]
    frame: bytes


class Restored(Struct, frozen=True):
    """What a backend holds when its agent starts: encoded values by key, and frames without confirmation."""

    values: dict[str, bytes]
    frames: tuple[StoredFrame, ...] = ()


class MemoryContext(Struct, frozen=True, kw_only=True):
    """For whom a backend is made, and what it may use."""

    name: str  # of the agent, with its replica number: "counter/0"
    folder: Path  # for files; it need not exist yet
    nats: dict[str, Any] | None = None  # options of a NATS connection, as `NatsOptions` takes them; None: NATS is off

    @property
    def token(self) -> str:
        """The name as part of a file name, of a NATS key, of anything.

        >>> MemoryContext(name="Weather-Bot/2", folder=Path("agents")).token
        'weather_bot.2'
        """
        return token(self.name).replace("/", ".")

    def __repr__(self) -> str:  # `nats` may hold secrets
        return f"MemoryContext({self.name!r}, {str(self.folder)!r})"


@runtime_checkable
class Memory(Protocol):
    """A backend: a class made with a `MemoryContext`; making one touches nothing yet.

    A call that fails raises StateError. With the reason `full`, `busy` or `unreachable` nothing was changed and the same call may work
    later: the agent holds back what depends on it and tries again. Any other failure of `commit` ends the agent, which starts again
    from what is stored.
    """

    is_durable: bool  # what it committed is there after the agent's process died, however it died
    value_bytes: int  # the largest encoded value
    total_bytes: int  # of all keys and values together; may be known only when it is open

    async def open(self, run: str) -> Restored:
        """Connect, become the only writer, and read. Frames of another `run` of the supervisor are purged: nobody will deliver their
        messages again. What cannot be read is kept aside and raises StateError: an empty state is never made up."""
        ...

    async def peek(self) -> dict[str, bytes]:
        """The encoded values, read without `open` and without disturbing the agent that has it open."""
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


BUILT_IN = {
    "in_memory": "actorsys.memory.in_memory:InMemory",
    "file": "actorsys.memory.file:File",
    "sqlite": "actorsys.memory.sqlite:Sqlite",
    "nats_kv": "actorsys.memory.nats_kv:NatsKv",
}
PASSING = frozenset({"full", "busy", "unreachable"})  # reasons of a StateError after which the same call may work


def create(memory: str, context: MemoryContext) -> Memory:
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
    try:
        made: Memory = backend(context)
    except TypeError as error:
        raise ConfigError(f"memory = {memory!r} is no backend: {error}", where="memory") from error
    if not isinstance(made, Memory):
        missing = sorted(name for name in _members() if not hasattr(made, name))
        raise ConfigError(f"memory = {memory!r} is no backend: it has no {', '.join(missing)}", where="memory")
    return made


def _members() -> set[str]:
    methods = {name for name, _ in inspect.getmembers(Memory, inspect.isfunction) if not name.startswith("_")}
    return methods | set(Memory.__annotations__)


def encoded(key: str, value: Any, limit: int) -> bytes:
    """A value as it is stored. Raises StateError naming the key of one that cannot be, or that has more than `limit` bytes."""
    try:
        data = encode(value)
    except BadMessage as error:
        raise StateError(f"state[{key!r}]: {error.message}", key=key, reason="encoding") from error
    return check_size(key, data, limit)


def check_size(key: str, data: bytes, limit: int) -> bytes:
    """The same bytes. Raises StateError if there are more than `limit`."""
    if len(data) > limit:
        text = f"state[{key!r}] takes {len(data):,} bytes; this backend allows {limit:,} for one value"
        raise StateError(text, key=key, reason="size")
    return data
