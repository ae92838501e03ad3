"""`self.state`: a mapping that commits with each message and rolls back with a failing one.

Every key touched, read or written, is encoded again and compared at commit, so that changes inside a value count.
"""

from collections.abc import Awaitable, Callable, Collection, Iterator, MutableMapping
from typing import Any

import msgspec

from ..errors import StateError
from ..mailbox.codec import decode, encode
from ..memory.base import check_size, encoded
from ..memory.step_rows import HIDDEN

Changes = dict[str, bytes | None]  # key to encoded value; None: deleted
NO_CHANGES: Changes = {}  # shared: never written to
UNLIMITED = 2**62
_NOTHING: tuple[Collection[str], Collection[str], bool] = ((), (), False)


class Limits:
    """How much a backend takes, and how much of it is in use; shared by all views of a state."""

    __slots__ = ("total", "used", "value")

    def __init__(self, stored: dict[str, bytes], value: int = UNLIMITED, total: int = UNLIMITED) -> None:
        self.value, self.total = value, total
        self.used = sum(len(key) + len(data) for key, data in stored.items())

    def check(self, key: str, data: bytes) -> None:
        """Raises StateError for a key or a value that the backend would not take."""
        if key.startswith(HIDDEN):
            raise StateError(f"state[{key!r}]: keys that start with a zero byte are ours", key=key, reason="refused")
        try:
            key.encode()
        except UnicodeEncodeError as error:
            raise StateError(f"state[{key!r}]: the key is no valid text: {error}", key=key, reason="encoding") from error
        check_size(key, data, self.value)


class State(MutableMapping[str, Any]):
    """Text keys, values that msgspec encodes; after a restart they come back as plain values (a Struct as a dict).

    >>> state = State({})
    >>> state["total"] = 1; state.collect()
    {'total': b'\\x01'}
    >>> state["total"] = 5; state.roll_back(); state["total"]
    1
    """

    def __init__(
        self,
        stored: dict[str, bytes],
        commit: "Callable[[State], Awaitable[None]] | None" = None,
        limits: Limits | None = None,
    ) -> None:
        self._stored = stored
        self._values: dict[str, Any] = {}  # decoded so far
        self._touched: set[str] = set()
        self._missed: set[str] = set()  # keys looked up that were not there
        self._is_listed = False
        self._seen = _NOTHING  # the three above, before the last collect
        self.is_used = False  # whether there is anything to collect, or to forget of what was seen; asked for each message
        self._commit = commit
        self._limits = limits or Limits(stored)

    async def commit(self) -> None:
        """Store what changed so far now, before the handler ends; it no longer rolls back."""
        if self._commit is not None:
            await self._commit(self)

    def view(self) -> "State":
        """Another mapping over the same stored values: it sees what others have committed, and commits or rolls back alone."""
        return State(self._stored, self._commit, self._limits)

    def __getitem__(self, key: str) -> Any:
        self.is_used = True
        if key not in self._values:
            if key in self._touched or key not in self._stored:
                self._missed.add(key)
                raise KeyError(key)
            self._values[key] = decode(self._stored[key])
        self._touched.add(key)
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise StateError(f"state keys are text, not {type(key).__name__}", key=str(key))
        self.is_used = True
        self._touched.add(key)
        self._values[key] = value

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._touched.add(key)
        self._values.pop(key, None)

    def __contains__(self, key: object) -> bool:
        self.is_used = True
        if isinstance(key, str):
            self._missed.add(key)
        return key in self._values or (key in self._stored and key not in self._touched)

    def __iter__(self) -> Iterator[str]:
        self.is_used = self._is_listed = True
        gone = self._touched - self._values.keys()
        return iter(
            [*(key for key in self._stored if key not in gone), *(key for key in self._values if key not in self._stored)]
        )

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"State({dict(self)!r})"

    def collect(self) -> Changes:
        """What changed since the last collect, now counted as stored. Raises StateError naming a key that cannot be encoded."""
        if not self._touched:
            self._forget()
            return {}
        changes: Changes = {}
        stored, limits = self._stored, self._limits
        growth = 0
        for key in self._touched:
            data = encoded(key, self._values[key], limits.value) if key in self._values else None
            before = stored.get(key)
            if data == before:
                continue
            changes[key] = data
            if data is not None:
                if before is None:
                    limits.check(key, data)
                    growth += len(key)
                growth += len(data)
            if before is not None:
                growth -= len(before) if data is not None else len(before) + len(key)
        if growth > 0 and limits.used + growth > limits.total:
            raise self._too_much(changes, limits.used + growth)
        limits.used += growth
        for key, data in changes.items():
            if data is None:
                stored.pop(key, None)
            else:
                stored[key] = data
        self._forget()
        return changes

    def _too_much(self, changes: Changes, total: int) -> StateError:
        """Named is the key that grew most."""
        key = max(changes, key=lambda key: len(changes[key] or b"") - len(self._stored.get(key, b"")))
        text = f"state[{key!r}]: with it the state takes {total:,} bytes; this backend allows {self._limits.total:,} in all"
        return StateError(text, key=key, reason="size")

    def roll_back(self) -> None:
        """Forget what changed since the last collect."""
        for key in self._touched:
            self._values.pop(key, None)
        self._forget()

    def _forget(self) -> None:
        if not (self._touched or self._missed or self._is_listed):
            self._seen = _NOTHING
            self.is_used = False
            return
        self._seen = self._touched or (), self._missed or (), self._is_listed
        if self._touched:
            self._touched = set()
        if self._missed:
            self._missed = set()
        self._is_listed = False

    def saw(self, keys: Collection[str]) -> bool:
        """Whether what ran before the last collect or roll-back may have seen one of these keys, or that it is not there."""
        touched, missed, is_listed = self._seen
        return bool(keys) and (is_listed or any(key in touched or key in missed for key in keys))

    def snapshot(self) -> bytes:
        """What is stored, as one msgpack map."""
        return encode({key: msgspec.Raw(value) for key, value in self._stored.items()})
