"""Messages that nobody could take, with the reasons: kept for people to look at, bounded in number and bytes."""

from collections import OrderedDict
from collections.abc import Iterator

from msgspec import Struct

KEPT = 1000
KEPT_BYTES = 16 * 2**20  # of payloads and tracebacks


class Action(Struct):
    """What the switchboard's driver has to do."""


class DeadLetter(Action):
    """One of them; also the action that tells of it. `at` is monotonic ns."""

    id: int
    to: str
    sender: str
    type: str
    payload: bytes
    priority: int
    reason: str
    at: int
    traceback: str = ""
    deliveries: int = 0


class DeadLetters:
    """The newest ones, by id."""

    def __init__(self) -> None:
        self._letters: OrderedDict[int, DeadLetter] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._letters)

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(self._letters.values())

    def __contains__(self, number: object) -> bool:
        return number in self._letters

    def __getitem__(self, number: int) -> DeadLetter:
        return self._letters[number]

    def add(self, dead: DeadLetter) -> None:
        """Keep it; the oldest go when there are too many."""
        self._letters[dead.id] = dead
        self._bytes += _size(dead)
        while len(self._letters) > KEPT or (self._bytes > KEPT_BYTES and len(self._letters) > 1):
            self.remove(next(iter(self._letters)))

    def remove(self, number: int) -> DeadLetter:
        """Forget one. Raises KeyError when there is none of that id."""
        dead = self._letters.pop(number)
        self._bytes -= _size(dead)
        return dead


def _size(dead: DeadLetter) -> int:
    return len(dead.payload) + len(dead.traceback)
