"""Which messages of other nodes were taken already?

A node that does not hear in time that its message is in custody sends it again under the same id: the process that had it on its
connection may have died. Custody takes it once.
"""

from typing import Any

KEPT = 20_000  # ids; a message is sent again for 30 s at most
WITHDRAWN = (
    5_000  # requests taken back before they came: a table of their own, so that nobody evicts ids by taking back at random
)


class Recent:
    """The newest ids.

    >>> recent = Recent()
    >>> said = {"message_id": "1", "metadata": {"node": "a"}}
    >>> recent.is_repeated(said), recent.is_repeated(said), recent.is_repeated({"message_id": "1", "metadata": {}})
    (False, True, False)
    >>> recent.withdraw("2", "ann")
    >>> late = {"message_id": "2", "metadata": {"node": "a"}}
    >>> recent.is_repeated(late, "ann"), recent.is_repeated(late, "bob")
    (True, False)
    """

    def __init__(self, kept: int = KEPT, withdrawn: int = WITHDRAWN) -> None:
        self._ids: dict[str, None] = {}
        self._kept = kept
        self._withdrawn: dict[tuple[str, str], None] = {}  # id, sender
        self._kept_withdrawn = withdrawn

    def is_repeated(self, headers: dict[str, Any] | None, sender: str = "") -> bool:
        """Whether a message with these headers was here before; one of a plain client never was, unless it is a notice."""
        if headers is None or (kind := headers.get("kind")) == "broadcast":  # for many mailboxes, and sent once
            return False
        number, metadata = headers.get("message_id"), headers.get("metadata")
        if not isinstance(number, str) or not isinstance(metadata, dict) or not (metadata.get("node") or kind == "notice"):
            return False
        if number in self._ids or (number, sender) in self._withdrawn:
            return True
        self._ids[number] = None
        if len(self._ids) > self._kept:
            del self._ids[next(iter(self._ids))]
        return False

    def forget(self, number: str) -> None:
        """The message with that id was not taken after all."""
        self._ids.pop(number, None)

    def withdraw(self, number: str, sender: str) -> None:
        """Take a message of that sender with that id, should it come, for one that was here."""
        self._withdrawn[number, sender] = None
        if len(self._withdrawn) > self._kept_withdrawn:
            del self._withdrawn[next(iter(self._withdrawn))]
