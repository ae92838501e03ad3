"""Which asks are in flight, and to whom does each answer go?"""

from msgspec import Struct

from .mailbox import Mailbox


class Ask(Struct):
    """Who asked, under which number of its own, and in which mailbox the letter is."""

    source: str
    number: int
    box: Mailbox
    is_stream: bool = False
    parts: int = 0  # passed on so far
    under_way: int = 0  # of these, units that were not read yet


class Replies:
    """Asks by the id of their letter. Each ends once: whoever ends it gets it, everybody later gets None."""

    def __init__(self) -> None:
        self._asks: dict[int, Ask] = {}
        self._numbers: dict[str, dict[int, int]] = {}  # who asks -> its own number -> the letter's id

    def __len__(self) -> int:
        return len(self._asks)

    def open(self, letter_id: int, source: str, number: int, box: Mailbox, is_stream: bool = False) -> None:
        self._asks[letter_id] = Ask(source, number, box, is_stream)
        numbers = self._numbers.get(source)
        if numbers is None:
            numbers = self._numbers[source] = {}
        numbers[number] = letter_id

    def is_open(self, letter_id: int) -> bool:
        return letter_id in self._asks

    def get(self, letter_id: int) -> Ask | None:
        """The ask that waits for the answer to this letter."""
        return self._asks.get(letter_id)

    def has_parts(self, letter_id: int) -> bool:
        """Whether part of the answer has passed on."""
        ask = self._asks.get(letter_id)
        return ask is not None and ask.parts > 0

    def end(self, letter_id: int) -> Ask | None:
        """Nobody waits for the answer to this letter any more."""
        ask = self._asks.pop(letter_id, None)
        if ask is not None:
            numbers = self._numbers.get(ask.source)
            if numbers is not None:
                numbers.pop(ask.number, None)
        return ask

    def forget(self, source: str) -> None:
        """That name asks no more; what it has asked has ended."""
        self._numbers.pop(source, None)

    def find(self, source: str, number: int) -> int | None:
        """The id of the letter that `source` sent as its ask `number`, while it is in flight."""
        return self._numbers.get(source, {}).get(number)

    def asked_by(self, source: str) -> list[int]:
        """The ids of all letters whose answers `source` waits for."""
        return list(self._numbers.get(source, {}).values())
