"""Which messages of other nodes were taken already?

A node that does not hear in time that its message is in custody sends it again under the same id: the process that had it on its
connection may have died. Custody takes it once.
"""

from typing import Any

KEPT = 20_000  # ids; a message is sent again for 30 s at most


class Recent:
    """The newest ids.

    >>> recent = Recent()
    >>> said = {"message_id": "1", "metadata": {"node": "a"}}
    >>> recent.is_repeated(said), recent.is_repeated(said), recent.is_repeated({"message_id": "1", "metadata": {}})
    (False, True, False)
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._ids: dict[str, None] = {}
        self._kept = kept

    def is_repeated(self, headers: dict[str, Any] | None) -> bool:
        """Whether a message with these headers was here before; one of a plain client never was, as nobody sends it again."""
        number, metadata = (headers or {}).get("message_id"), (headers or {}).get("metadata")
        if not isinstance(number, str) or not isinstance(metadata, dict) or not metadata.get("node"):
            return False
        if number in self._ids:
            return True
        self._ids[number] = None
        if len(self._ids) > self._kept:
            del self._ids[next(iter(self._ids))]
        return False
