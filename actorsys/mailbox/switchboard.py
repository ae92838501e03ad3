"""Which letter goes where, and what becomes of it: the pure machine of the mail.

`handle(event, now)` returns actions; a driver moves the bytes. `now` is monotonic nanoseconds. The process that the supervisor runs
in takes part under the name HOST: it posts frames like an agent and gets its replies like one, but has no mailbox.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from ..errors import AgentDown, UnknownAgent
from ..messages import Failure
from ..names import base, did_you_mean
from ..spec import MailboxSpec
from .codec import encode
from .letter import ASK, FAIL_WHEN_DOWN, FAILURE, REMOTE, Cancel, DownNote, Failed, Forget, Frame, Full, Letter, Room
from .mailbox import Mailbox

DEAD_LETTERS = 1000  # kept at most; older ones are only counted


class Event(Struct):
    """What can happen to the switchboard."""


class Open(Event):
    """A mailbox for agent `name`, reached by each of `addresses`; `shown` is its name as a sender."""

    name: str
    spec: MailboxSpec
    addresses: tuple[str, ...]
    shown: str


class Up(Event):
    """Its process is ready for mail."""

    name: str


class Gone(Event):
    """Its process ended. `charge`: it died of what it held, no exception was reported and nobody killed it on purpose."""

    name: str
    reason: str
    charge: bool = False


class Close(Event):
    """It failed for good: mail goes to the dead letters, askers are told. `forget`: the name disappears too."""

    name: str
    reason: str
    forget: bool = False


class Reopen(Event):
    name: str


class Posted(Event):
    """A frame arrived from an agent, or from HOST."""

    name: str
    frame: Frame


class Action(Struct):
    """What the driver has to do."""


class Deliver(Action):
    to: str
    letters: list[Letter]


class Confirm(Action):
    """Tell the sender that its frame `number` was taken."""

    to: str
    number: int


class Tell(Action):
    to: str
    note: DownNote


class Blamed(Action):
    """The letter that agent `name` died on, for certain; `quarantined` when that was once too often."""

    name: str
    letter: Letter
    quarantined: bool


class DeadLetter(Action):
    """A letter that nobody could take, with the reason; also what `dead-letters` lists."""

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


class Ask(Struct, gc=False):
    """An ask in flight: who asked, under which number of its own, and in which mailbox it is."""

    source: str
    number: int
    box: Mailbox


class Switchboard:
    def __init__(self) -> None:
        self.boxes: dict[str, Mailbox] = {}
        self.dead_letters: OrderedDict[int, DeadLetter] = OrderedDict()
        self.late_replies = 0
        self._routes: dict[str, list[Mailbox]] = {}
        self._asks: dict[int, Ask] = {}
        self._next = 1
        self._table: dict[type[Event], Callable[[Any, int], list[Action]]] = {
            Posted: self._posted,
            Up: self._up,
            Gone: self._gone,
            Open: self._open,
            Close: self._close,
            Reopen: self._reopen,
        }

    def handle(self, event: Event, now: int) -> list[Action]:
        return self._table[type(event)](event, now)

    def knows(self, address: str) -> bool:
        return address in self._routes

    def unknown(self, address: str) -> UnknownAgent:
        """The error for an address that nobody has."""
        hint = did_you_mean(address, self._routes) or " `actorsys ps` lists all agents."
        return UnknownAgent(f"no agent is named {address!r}.{hint}")

    # --- letters

    def _posted(self, event: Posted, now: int) -> list[Action]:
        source, frame = event.name, event.frame
        box = self.boxes.get(source)
        shown = box.shown if box else source
        actions: list[Action] = []
        touched: dict[str, Mailbox] = {}
        for letter in frame.letters:
            if letter.kind <= ASK:
                target = self._accept(letter, source, shown, now, actions)
                if target is not None:
                    touched[target.name] = target
            else:
                self._answer(letter, actions)
        if box is not None:
            for number in frame.acks:
                self._acknowledge(box, number)
            for note in frame.notes:
                if type(note) is Failed:
                    self._failed(box, note, now, actions)
            touched[source] = box
        for note in frame.notes:
            if type(note) is Forget:
                self._forget(source, note, actions)
        if frame.number:
            actions.append(Confirm(source, frame.number))
        for target in touched.values():
            self._deliver(target, now, actions)
        return actions

    def _accept(self, letter: Letter, source: str, shown: str, now: int, actions: list[Action]) -> Mailbox | None:
        """Take a letter into custody. What cannot be accepted is answered, or dead-lettered, at once."""
        boxes = self._routes.get(letter.to)
        if boxes is None:
            self._refuse(letter, source, shown, self.unknown(letter.to), now, actions)
            return None
        box = boxes[0] if len(boxes) == 1 else min(boxes, key=lambda box: (bool(box.closed), not box.is_up, box.depth))
        if box.closed or (letter.flags & FAIL_WHEN_DOWN and not box.is_up):
            reason = box.closed or "it is down"
            down = AgentDown(f"{letter.to!r} takes no messages: {reason}. `actorsys why {letter.to}` says more.",
                             reason=reason, may_have_run=False)  # fmt: skip
            self._refuse(letter, source, shown, down, now, actions)
            return None
        number = self._next
        self._next = number + 1
        if letter.kind == ASK:
            self._asks[number] = Ask(source, letter.id, box)
        letter.id = number
        if not letter.flags & REMOTE:
            letter.sender = shown
        if box.is_full and box.spec.overflow == "drop_oldest":
            dropped = box.drop_oldest()
            if dropped is not None:
                self._bury(box, dropped, "mailbox full, oldest dropped", now, actions)
        box.put(letter)
        if box.is_full and (source != box.name or letter.flags & REMOTE):
            self._announce_full(box, source, letter.to, actions)
        return box

    def _announce_full(self, box: Mailbox, source: str, address: str, actions: list[Action]) -> None:
        """Tell a sender, once, that there is no room: its next tell waits or raises."""
        if box.spec.overflow != "drop_oldest" and (source, address) not in box.waiting:
            box.waiting.add((source, address))
            actions.append(Tell(source, Full(address, box.spec.overflow == "reject")))

    def _refuse(
        self, letter: Letter, source: str, shown: str, error: UnknownAgent | AgentDown, now: int, actions: list[Action]
    ) -> None:
        if letter.kind == ASK:
            self._fail(source, letter.id, error, actions)
        else:
            letter.id = self._next
            self._next += 1
            letter.sender = letter.sender or shown
            self._keep(letter, error.message, now, actions)

    def _fail(self, source: str, number: int, error: Exception, actions: list[Action]) -> None:
        payload = encode(Failure.of(error, with_traceback=False))
        actions.append(Deliver(source, [Letter(FAILURE, number, source, "", "", payload)]))

    def _answer(self, letter: Letter, actions: list[Action]) -> None:
        ask = self._asks.pop(letter.id, None)
        if ask is None:
            self.late_replies += 1
            return
        letter.id = ask.number
        actions.append(Deliver(ask.source, [letter]))

    def _acknowledge(self, box: Mailbox, number: int) -> None:
        letter = box.acknowledge(number)
        if letter is None:
            return
        if letter.kind == ASK and self._asks.pop(number, None) is not None:
            box.expired += 1  # acknowledged without an answer: its deadline had passed, or nobody waits
        else:
            box.handled += 1

    def _failed(self, box: Mailbox, note: Failed, now: int, actions: list[Action]) -> None:
        letter = box.acknowledge(note.id)
        if letter is not None:
            box.failed += 1
            self._bury(box, letter, f"{note.failure.type}: {note.failure.message}", now, actions, note.failure.traceback)

    def _forget(self, source: str, note: Forget, actions: list[Action]) -> None:
        for number, ask in self._asks.items():
            if ask.number == note.id and ask.source == source:
                self._cancel(number, ask, actions)
                break

    def _cancel(self, number: int, ask: Ask, actions: list[Action]) -> None:
        """The asker has gone: take the letter back, or stop its handler."""
        del self._asks[number]
        if ask.box.withdraw(number) is None and number in ask.box.out:
            actions.append(Tell(ask.box.name, Cancel(number)))

    def _deliver(self, box: Mailbox, now: int, actions: list[Action]) -> None:
        while box.is_up:
            letters = box.take()
            if not letters:
                break
            fresh = [letter for letter in letters if not letter.deadline or letter.deadline > now]
            if fresh:
                actions.append(Deliver(box.name, fresh))
            if len(fresh) == len(letters):
                break
            for letter in letters:
                if letter.deadline and letter.deadline <= now:
                    self._acknowledge(box, letter.id)
        if box.waiting and box.has_room:
            for source, address in sorted(box.waiting):
                actions.append(Tell(source, Room(address)))
            box.waiting.clear()

    # --- agents

    def _open(self, event: Open, now: int) -> list[Action]:
        box = self.boxes[event.name] = Mailbox(event.name, event.spec)
        box.shown = event.shown
        for address in event.addresses:
            self._routes.setdefault(address, []).append(box)
        return []

    def _reopen(self, event: Reopen, now: int) -> list[Action]:
        self.boxes[event.name].closed = ""
        return []

    def _up(self, event: Up, now: int) -> list[Action]:
        box = self.boxes[event.name]
        box.is_up = True
        actions: list[Action] = []
        self._deliver(box, now, actions)
        return actions

    def _gone(self, event: Gone, now: int) -> list[Action]:
        box = self.boxes[event.name]
        actions: list[Action] = []
        blamed = box.crashed(charge=event.charge)
        if blamed is not None:
            quarantined = blamed.deliveries >= box.spec.max_deliveries
            actions.append(Blamed(box.name, blamed, quarantined))
            if quarantined:
                box.remove_suspect(blamed.id)
                self._bury(box, blamed, f"killed {base(box.name)!r} {blamed.deliveries} times: {event.reason}", now, actions)
        for number, letter in list(box.suspects.items()):
            if letter.flags & FAIL_WHEN_DOWN and number in self._asks:
                box.remove_suspect(number)
                self._end_ask(letter, event.reason, True, actions)
        for number, ask in list(self._asks.items()):
            if ask.source == box.name:
                self._cancel(number, ask, actions)
        for other in self.boxes.values():
            if other.waiting:
                other.waiting = {entry for entry in other.waiting if entry[0] != box.name}
        return actions

    def _close(self, event: Close, now: int) -> list[Action]:
        box = self.boxes[event.name]
        box.closed = event.reason
        actions: list[Action] = []
        for letter, may_have_run in box.empty():
            if letter.kind == ASK:
                self._end_ask(letter, event.reason, may_have_run, actions)
            else:
                self._bury(box, letter, event.reason, now, actions)
        for source, address in sorted(box.waiting):
            actions.append(Tell(source, Room(address)))
        box.waiting.clear()
        if event.forget:
            del self.boxes[event.name]
            for address, boxes in list(self._routes.items()):
                if box in boxes:
                    boxes.remove(box)
                    if not boxes:
                        del self._routes[address]
        return actions

    def _end_ask(self, letter: Letter, reason: str, may_have_run: bool, actions: list[Action]) -> None:
        ask = self._asks.pop(letter.id, None)
        if ask is not None:
            ran = "its handler may have run" if may_have_run else "its handler has not run"
            message = f"{letter.to!r} ended before it answered ({ran}): {reason}"
            self._fail(ask.source, ask.number, AgentDown(message, reason=reason, may_have_run=may_have_run), actions)

    # --- dead letters

    def _bury(self, box: Mailbox, letter: Letter, reason: str, now: int, actions: list[Action], traceback: str = "") -> None:
        box.dead += 1
        if letter.kind == ASK:
            self._end_ask(letter, reason, letter.deliveries > 0, actions)
        self._keep(letter, reason, now, actions, traceback)

    def _keep(self, letter: Letter, reason: str, now: int, actions: list[Action], traceback: str = "") -> None:
        dead = DeadLetter(
            letter.id,
            letter.to,
            letter.sender,
            letter.type,
            letter.payload,
            letter.priority,
            reason,
            now,
            traceback,
            letter.deliveries,
        )
        self.dead_letters[letter.id] = dead
        if len(self.dead_letters) > DEAD_LETTERS:
            self.dead_letters.popitem(last=False)
        actions.append(dead)
