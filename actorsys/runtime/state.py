"""`self.state`: a mapping that commits with each message and rolls back with a failing one.

Every key touched, read or written, is encoded again and compared at commit, so that changes inside a value count.
"""

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import msgspec

from ..errors import BadMessage, StateError
from ..mailbox.codec import decode, encode

Changes = dict[str, bytes | None]  # key to encoded value; None: deleted


class State(MutableMapping[str, Any]):
    """Text keys, values that msgspec encodes; after a restart they come back as plain values (a Struct as a dict).

    >>> state = State({})
    >>> state["total"] = 1; state.collect()
    {'total': b'\\x01'}
    >>> state["total"] = 5; state.roll_back(); state["total"]
    1
    """

    def __init__(self, stored: dict[str, bytes], commit: "Callable[[State], Awaitable[None]] | None" = None) -> None:
        self._stored = stored
        self._values: dict[str, Any] = {}  # decoded so far
        self._touched: set[str] = set()
        self._commit = commit

    async def commit(self) -> None:
        """Store what changed so far now, before the handler ends; it no longer rolls back."""
        if self._commit is not None:
            await self._commit(self)

    def view(self) -> "State":
        """Another mapping over the same stored values: it sees what others have committed, and commits or rolls back alone."""
        return State(self._stored, self._commit)

    def __getitem__(self, key: str) -> Any:
        if key not in self._values:
            if key in self._touched or key not in self._stored:
                raise KeyError(key)
            self._values[key] = decode(self._stored[key])
        self._touched.add(key)
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise StateError(f"state keys are text, not {type(key).__name__}", key=str(key))
        self._touched.add(key)
        self._values[key] = value

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._touched.add(key)
        self._values.pop(key, None)

    def __contains__(self, key: object) -> bool:
        return key in self._values or (key in self._stored and key not in self._touched)

    def __iter__(self) -> Iterator[str]:
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
            return {}
        changes: Changes = {}
        for key in self._touched:
            try:
                encoded = encode(self._values[key]) if key in self._values else None
            except BadMessage as error:
                raise StateError(f"state[{key!r}]: {error.message}", key=key) from error
            if encoded != self._stored.get(key):
                changes[key] = encoded
        for key, encoded in changes.items():
            if encoded is None:
                self._stored.pop(key, None)
            else:
                self._stored[key] = encoded
        self._touched.clear()
        return changes

    def roll_back(self) -> None:
        """Forget what changed since the last collect."""
        for key in self._touched:
            self._values.pop(key, None)
        self._touched.clear()

    def snapshot(self) -> bytes:
        """What is stored, as one msgpack map."""
        return encode({key: msgspec.Raw(value) for key, value in self._stored.items()})
