"""Which mail is on disk, and which waits until it is? For mailboxes with `durability = "disk"`.

A tell to such a mailbox counts and holds its place from the start, but is routed only after the batch that stores it is written; an ask
is not stored, but waits behind the tells before it, so that order holds. What leaves the mailbox for good is deleted with the next
batch: a frame's acknowledgements and what it sends are stored together, or not at all.
"""

from collections import deque

from .dead_letters import Action
from .letter import TELL, Letter
from .mailbox import Mailbox


class Store(Action):
    """Write a batch, then say `Stored(number)`: letters accepted (with the mailbox), ids done with, and deaths charged."""

    number: int
    added: list[tuple[str, Letter]]
    removed: list[int]
    charged: list[tuple[int, int]]
    taken: list[tuple[str, int]]  # agents, and the number of the last frame taken from each


class Durable:
    def __init__(self) -> None:
        self._number = 0  # of the last batch given out
        self._written = 0
        self._added: list[tuple[str, Letter]] = []
        self._charged: list[tuple[int, int]] = []
        self._taken: dict[str, int] = {}
        self._left: list[int] = []  # of mailboxes that were forgotten
        self._boxes: dict[str, Mailbox] = {}
        self._held: dict[str, deque[tuple[int, Letter]]] = {}
        self._confirms: deque[tuple[int, Action]] = deque()
        self.is_used = False  # whether any mailbox is, or was, on disk

    def open(self, box: Mailbox) -> None:
        self.is_used = True
        self._boxes[box.name] = box
        self._held[box.name] = deque()

    def close(self, name: str) -> None:
        """The mailbox is forgotten; what it held was emptied before."""
        box = self._boxes.pop(name, None)
        self._held.pop(name, None)
        if box is not None:
            self._left += box.left

    def put(self, box: Mailbox, letter: Letter) -> None:
        """Take a letter: routed once it is stored."""
        held = self._held[box.name]
        if letter.kind == TELL:
            self._added.append((box.name, letter))
            held.append((self._number + 1, letter))
            box.hold(letter)
        elif held:
            held.append((held[-1][0], letter))
            box.hold(letter)
        else:
            box.put(letter)

    def charge(self, letter: Letter) -> None:
        """Remember a death that a letter was charged with."""
        if letter.kind == TELL:
            self._charged.append((letter.id, letter.deliveries))

    def withdraw(self, box: Mailbox, number: int) -> Letter | None:
        """Take back an ask that waits for tells before it."""
        held = self._held.get(box.name)
        for entry in held or ():
            if entry[1].id == number and entry[1].kind != TELL:
                held.remove(entry)  # type: ignore[union-attr]  # it has entries, so it is there
                box.unhold(entry[1])
                return entry[1]
        return None

    def empty(self, box: Mailbox) -> list[Letter]:
        """All that a mailbox holds and has not routed."""
        held = self._held.get(box.name)
        letters = [letter for _, letter in held or ()]
        if held:
            held.clear()
        for letter in letters:
            box.unhold(letter)
        return letters

    def batch(self) -> Store | None:
        """What has changed since the last batch."""
        removed, self._left = self._left, []
        for box in self._boxes.values():
            if box.left:
                removed += box.left
                box.left.clear()
        if not (self._added or removed or self._charged or self._taken):
            return None
        self._number += 1
        store = Store(self._number, self._added, removed, self._charged, list(self._taken.items()))
        self._added, self._charged, self._taken = [], [], {}
        return store

    def took(self, box: Mailbox) -> None:
        """Remember the last frame of an agent, with what it acknowledged: its next life sends only later ones again."""
        self._taken[box.name] = box.last_frame

    def confirm_later(self, action: Action, box: Mailbox | None) -> bool:
        """Keep the confirmation of a frame until what it sent, and what it acknowledged in `box`, is stored; False if that is nothing.

        An agent deletes its own record of a frame when it is confirmed: earlier, a kill in between would have its messages handled twice.
        """
        if not self._added and not (box is not None and box.is_disk):
            return False
        self._confirms.append((self._number + 1, action))
        return True

    def stored(self, number: int) -> tuple[list[Mailbox], list[Action]]:
        """Batches up to `number` are written: the mailboxes that have new mail now, and the confirmations that are due."""
        self._written = number
        filled = []
        for name, held in self._held.items():
            box = self._boxes[name]
            if held and held[0][0] <= number:
                filled.append(box)
            while held and held[0][0] <= number:
                box.queue.put(held.popleft()[1])
        due = []
        while self._confirms and self._confirms[0][0] <= number:
            due.append(self._confirms.popleft()[1])
        return filled, due
