"""One agent's mailbox: what is in custody for it, in which order it goes out, and what a death does to it.

A letter is here from its acceptance to its acknowledgement. Queued letters wait in five lanes; the first `window` of them are out,
unacknowledged. After a death what was out becomes *suspect* and goes out again one at a time, so that the message that kills is
known for certain and only it is charged.
"""

import sys
from collections import deque
from collections.abc import Iterable, Iterator

from ..spec import MailboxSpec
from .letter import AGAIN, DEFAULT_PRIORITY, PRIORITIES, TELL, Letter, wants_answer

WINDOW_BYTES = 2**20  # payload that may be out besides one letter, so that a stop never queues behind many megabytes
LETTER_BYTES = 200  # what a letter weighs besides its payload, measured with sys.getsizeof over its parts

SAMPLE = 16  # one letter in so many has its waiting and its handling time taken
MEMORY = 64  # samples that a mean goes back

TURN = 16  # of so many letters, each lower lane that has mail gets at least one (G6)


class Lanes:
    """Letters by priority, 1 first; within one priority first in, first out.

    >>> lanes = Lanes()
    >>> for priority in (3, 1): lanes.put(Letter(0, priority, "a", "b", "T", b"", priority))
    >>> [lanes.take().priority, lanes.take().priority, len(lanes)]
    [1, 3, 0]
    """

    def __init__(self) -> None:
        self._lanes: tuple[deque[Letter], ...] = tuple(deque() for _ in PRIORITIES)
        self.usual = self._lanes[DEFAULT_PRIORITY - 1]
        self.others = 0  # letters in the other lanes
        self._turn = 0
        self._lower = 0

    def __len__(self) -> int:
        return len(self.usual) + self.others

    def __iter__(self) -> Iterator[Letter]:
        for lane in self._lanes:
            yield from lane

    def put(self, letter: Letter) -> None:
        if letter.priority == DEFAULT_PRIORITY:
            self.usual.append(letter)
        else:
            self._lanes[letter.priority - 1].append(letter)
            self.others += 1

    def take(self) -> Letter:
        """The next letter. Raises IndexError when there is none."""
        if not self.others:
            return self.usual.popleft()
        filled = [lane for lane in self._lanes if lane]
        self._turn += 1
        lane = filled[0]
        if len(filled) > 1 and self._turn % (TURN // 4) == 0:
            self._lower += 1
            lane = filled[1 + self._lower % (len(filled) - 1)]
        return self._from(lane)

    def drop_oldest(self) -> Letter:
        """The letter that waits longest in the lowest lane that has any."""
        return self._from(next(lane for lane in reversed(self._lanes) if lane))

    def remove(self, letter: Letter) -> None:
        lane = self._lanes[letter.priority - 1]
        lane.remove(letter)
        self.others -= lane is not self.usual

    def _from(self, lane: deque[Letter]) -> Letter:
        self.others -= lane is not self.usual
        return lane.popleft()


class Ledger:
    """The bytes in all mailboxes of a node, and their common bound."""

    __slots__ = ("bytes", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0


class Mailbox:
    """Custody for one agent. `depth` counts everything unacknowledged, queued or out."""

    def __init__(self, name: str, spec: MailboxSpec, ledger: Ledger | None = None) -> None:
        self.name = name
        self.ledger = ledger or Ledger(sys.maxsize)
        self.shown = name  # what others see as sender; without the replica number while there is one
        self.spec = spec
        self.is_disk = spec.durability == "disk"
        self.last_frame = 0  # number of the last frame taken from its agent
        self.left: list[int] = []  # ids of tells that are gone for good but still on disk
        self.is_up = False
        self.closed = ""  # why it takes no mail: its agent has failed for good
        self.queue = Lanes()
        self.suspects: dict[int, Letter] = {}  # were out at a death, in the order they went out
        self.is_careful = False  # until all suspects are done with, the last one included
        self.ended: dict[int, int] = {}  # by the last death, though their handlers had told so many
        self.out: dict[int, Letter] = {}
        self.out_bytes = 0
        self.depth = 0
        self.bytes = 0
        self.waiting: set[tuple[str, str]] = set()  # (sender, address it used) of those that were told there is no room
        self.since: dict[int, int] = {}  # of each SAMPLE-th letter that waits: when it was accepted
        self.waited_ns = 0  # mean over the latest samples
        self.samples = 0
        self.flood: dict[str, int] = {}  # bytes that senders have posted since they were told to wait
        self.handled = 0
        self.failed = 0
        self.expired = 0
        self.dead = 0

    @property
    def is_full(self) -> bool:
        spec, ledger = self.spec, self.ledger
        return self.depth >= spec.size or self.bytes >= spec.bytes or ledger.bytes >= ledger.limit

    @property
    def is_over(self) -> bool:
        """Beyond a bound, not just at it."""
        spec, ledger = self.spec, self.ledger
        return self.depth > spec.size or self.bytes > spec.bytes or ledger.bytes > ledger.limit

    @property
    def has_room(self) -> bool:
        """Below the low watermark: half of each bound."""
        spec, ledger = self.spec, self.ledger
        return 2 * self.depth <= spec.size and 2 * self.bytes <= spec.bytes and 2 * ledger.bytes <= ledger.limit

    def put(self, letter: Letter) -> None:
        size = len(letter.payload) + LETTER_BYTES  # as `hold` and `Lanes.put`, without a call for each letter
        self.depth += 1
        self.bytes += size
        self.ledger.bytes += size
        if letter.priority == DEFAULT_PRIORITY:
            self.queue.usual.append(letter)
        else:
            self.queue.put(letter)

    def hold(self, letter: Letter) -> None:
        """Count a letter that is ours but not yet to be routed."""
        size = len(letter.payload) + LETTER_BYTES
        self.depth += 1
        self.bytes += size
        self.ledger.bytes += size

    def unhold(self, letter: Letter) -> None:
        self._gone(letter)

    def _gone(self, letter: Letter) -> None:
        size = len(letter.payload) + LETTER_BYTES
        self.depth -= 1
        self.bytes -= size
        self.ledger.bytes -= size
        self._forget(letter)

    def _forget(self, letter: Letter) -> None:
        if self.is_disk and letter.kind == TELL:
            self.left.append(letter.id)
        self.since.pop(letter.id, None)

    def waited(self, letters: list[Letter], now: int) -> None:
        """Letters go out: learn from those among them that are samples how long mail waits."""
        for letter in letters:
            since = self.since.pop(letter.id, None)
            if since is not None:
                self.samples += 1
                self.waited_ns += (now - since - self.waited_ns) // min(self.samples, MEMORY)

    def take(self) -> list[Letter]:
        """What may go out now: up to the window, or a single suspect."""
        if self.is_careful:
            if self.out:
                return []
            if self.suspects:
                number = next(iter(self.suspects))
                letter = self.suspects.pop(number)
                self._send(letter)
                return [letter]
            self.is_careful = False
        letters: list[Letter] = []
        queue, out, window, size = self.queue, self.out, self.spec.window, self.out_bytes
        usual = queue.usual
        while (usual or queue.others) and len(out) < window and size < WINDOW_BYTES:
            letter = queue.take() if queue.others else usual.popleft()
            out[letter.id] = letter  # as `_send`, without a call for each letter
            size += len(letter.payload)
            letters.append(letter)
        self.out_bytes = size
        return letters

    def _send(self, letter: Letter) -> None:
        self.out[letter.id] = letter
        self.out_bytes += len(letter.payload)

    def acknowledge(self, number: int) -> Letter | None:
        """The letter is done with; None when it is not ours (any more)."""
        letter = self.out.pop(number, None)
        if letter is not None:
            self.out_bytes -= len(letter.payload)
        else:  # acknowledged by the stored frame of an earlier incarnation
            letter = self.suspects.pop(number, None)
            if letter is None:
                return None
        size = len(letter.payload) + LETTER_BYTES  # as `_gone`, without a call for each letter
        self.depth -= 1
        self.bytes -= size
        self.ledger.bytes -= size
        if self.is_disk or self.since:
            self._forget(letter)
        return letter

    def crashed(self, *, charge: bool) -> Letter | None:
        """The process died. What was out goes out again; the charged letter is returned, if it is certain which one killed."""
        blamed = next(iter(self.out.values())) if charge and len(self.out) == 1 else None
        if blamed:
            blamed.deliveries += 1
        for letter in self.out.values():
            letter.flags |= AGAIN
        self.suspects = {**self.out, **self.suspects}
        self.is_careful = bool(self.suspects)
        self.out = {}
        self.out_bytes = 0
        self.is_up = False
        return blamed

    def restore(self, letters: Iterable[Letter], last_frame: int) -> None:
        """What was on disk: any of it may have been out when its node died, so it comes one at a time."""
        for letter in letters:
            letter.flags |= AGAIN
            self.hold(letter)
            self.suspects[letter.id] = letter
        self.is_careful = bool(self.suspects)
        self.last_frame = last_frame

    def remove_suspect(self, number: int) -> Letter:
        letter = self.suspects.pop(number)
        self._gone(letter)
        return letter

    def drop_oldest(self) -> Letter | None:
        """Make room by policy; None when all that is here is out."""
        if not self.queue:
            return None
        letter = self.queue.drop_oldest()
        self._gone(letter)
        return letter

    def withdraw(self, number: int) -> Letter | None:
        """Take back a letter that has not gone out."""
        for letter in self.queue:
            if letter.id == number:
                self.queue.remove(letter)
                self._gone(letter)
                return letter
        return None

    def find(self, message_id: str, sender: str) -> Letter | None:
        """The request of that sender with that id, which came over NATS."""
        for letter, _ in self.held():
            if letter.sender == sender and wants_answer(letter) and (letter.headers or {}).get("message_id") == message_id:
                return letter
        return None

    def held(self) -> list[tuple[Letter, bool]]:
        """All that is left, with whether a handler may have seen it."""
        rest = [(letter, True) for letter in (*self.out.values(), *self.suspects.values())]
        return rest + [(letter, False) for letter in self.queue]

    def empty(self) -> list[tuple[Letter, bool]]:
        """All that is left, with whether a handler may have seen it; the mailbox is empty afterwards."""
        rest = self.held()
        self.queue, self.out, self.suspects = Lanes(), {}, {}
        self.is_careful = False
        self.out_bytes = 0
        for letter, _ in rest:
            self._gone(letter)
        return rest
