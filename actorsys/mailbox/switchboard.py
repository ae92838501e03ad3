"""Which letter goes where, and what becomes of it: the pure machine of the mail.

`handle(event, now)` returns actions; a driver moves the bytes. `now` is monotonic nanoseconds. The process that the supervisor runs
in takes part under the name HOST: it posts frames like an agent and gets its replies like one, but has no mailbox.

The commonest event, a frame that was posted, also comes in two halves: `take` any number of frames, then `settle` once.

It is over 400 lines because it is one machine: a letter's way from acceptance to its end should be read in one place.
"""

import sys
from collections.abc import Callable
from typing import Any

from ..errors import AgentDown, UnknownAgent
from ..messages import Failure
from ..names import base, did_you_mean
from .codec import encode
from .dead_letters import Action, DeadLetter, DeadLetters
from .durable import Durable
from .letter import (
    AGAIN,
    ASK,
    FAIL_WHEN_DOWN,
    FAILURE,
    HOST,
    PART,
    REMOTE,
    REPLY,
    STREAM,
    STREAM_WINDOW,
    TELL,
    Cancel,
    Credit,
    Failed,
    Forget,
    Frame,
    Full,
    Grant,
    Letter,
    Room,
    Withdraw,
    wants_answer,
    wants_end,
    weight,
)
from .mailbox import LETTER_BYTES, SAMPLE, Ledger, Mailbox
from .recent import Recent
from .replies import Ask, Replies
from .traffic import (
    Blamed,
    Close,
    Confirm,
    Deliver,
    Event,
    Flood,
    Gone,
    Open,
    Posted,
    Reopen,
    Respec,
    Retry,
    Stored,
    Tell,
    Unanswered,
    Up,
)

# What one agent may post to a mailbox after it was told that there is no room. Two frames of a handler may be under way then, of 16 MiB
# at most each; whoever goes on beyond that does not listen.
FLOOD_BYTES = 64 * 2**20


class Switchboard:
    """`max_bytes` bounds all mailboxes together; see `Ledger`."""

    def __init__(self, max_bytes: int = sys.maxsize) -> None:
        self.boxes: dict[str, Mailbox] = {}
        self.ledger = Ledger(max_bytes)
        self.dead_letters = DeadLetters()
        self.late_replies = 0
        self.repeated_tells = 0
        self._routes: dict[str, list[Mailbox]] = {}
        self._replies = Replies()
        self._recent = Recent()
        self._durable = Durable()
        self._taken: dict[int, int] = {}  # letter in flight -> how many of its handler's tells were taken
        self.touched: dict[str, Mailbox] = {}  # those from which something may go out now
        self._short: set[str] = set()  # mailboxes that have told senders to wait
        self._next = 1
        self._table: dict[type[Event], Callable[[Any, int, list[Action]], object]] = {
            Posted: self._posted,
            Up: self._up,
            Gone: self._gone,
            Open: self._open,
            Close: self._close,
            Reopen: self._reopen,
            Respec: self._respec,
            Retry: self._retry,
            Stored: self._stored,
        }

    def handle(self, event: Event, now: int) -> list[Action]:
        actions: list[Action] = []
        self._table[type(event)](event, now, actions)
        self.settle(now, actions)
        return actions

    def settle(self, now: int, actions: list[Action]) -> None:
        """After any number of letters: what may go out now, who has room again, what must be stored."""
        if self.touched:
            touched, self.touched = self.touched, {}
            for box in touched.values():
                self._deliver(box, now, actions)
        if self._short:
            self._release(actions)
        if self._durable.is_used and (store := self._durable.batch()) is not None:
            actions.append(store)

    def begin_ids(self, first: int) -> None:
        """Give no id below `first` from now on: earlier lives of a journal have used them."""
        self._next = max(self._next, first)

    def is_durable(self, address: str) -> bool:
        """Whether a tell to this address is accepted only when it is on disk."""
        return self._durable.is_used and any(box.is_disk for box in self._routes.get(address, ()))

    def behind(self, address: str) -> list[Mailbox]:
        """The mailboxes that an address stands for."""
        return self._routes.get(address, [])

    def knows(self, address: str) -> bool:
        return address in self._routes

    def unknown(self, address: str) -> UnknownAgent:
        """The error for an address that nobody has."""
        hint = did_you_mean(address, self._routes) or " `actorsys ps` lists all agents."
        return UnknownAgent(f"no agent is named {address!r}.{hint}")

    # --- letters

    def _posted(self, event: Posted, now: int, actions: list[Action]) -> None:
        self.take(event.name, event.frame, now, actions)

    def take_letter(self, letter: Letter, now: int, actions: list[Action]) -> None:
        """Take a tell or an ask of HOST that comes without a frame. Raises UnknownAgent."""
        if letter.to not in self._routes:
            raise self.unknown(letter.to)
        self._accept(letter, HOST, HOST, now, actions)

    def take(self, source: str, frame: Frame, now: int, actions: list[Action]) -> None:
        """Take a frame that `source` posted."""
        box = self.boxes.get(source)
        shown = source if box is None else box.shown
        for letter in frame.letters:
            if letter.kind <= ASK:
                self._accept(letter, source, shown, now, actions)
            elif letter.kind == PART:
                self._part(letter, actions)
            else:
                self._answer(letter, actions)
        if box is not None:
            if frame.acks:
                self._acknowledge(box, frame.acks)
            if box.depth > len(box.out):
                self.touched[source] = box
        for note in frame.notes:
            if type(note) is Failed and box is not None:
                self._failed(box, note, now, actions)
            elif type(note) is Forget:
                self._forget(source, note, actions)
            elif type(note) is Credit:
                self._credit(source, note, actions)
            elif type(note) is Withdraw:
                self._withdraw(note, actions)
        if frame.number:
            confirm = Confirm(source, frame.number)
            if box is not None:
                box.last_frame = frame.number
                if box.is_disk:
                    self._durable.took(box)
            if not self._durable.confirm_later(confirm, box):
                actions.append(confirm)

    def _accept(self, letter: Letter, source: str, shown: str, now: int, actions: list[Action]) -> None:
        """Take a letter into custody. What cannot be accepted is answered, or dead-lettered, at once."""
        kind, flags = letter.kind, letter.flags
        if letter.cause and kind == TELL and self._is_repeated(letter, source):
            return
        if flags & REMOTE and self._recent.is_repeated(letter.headers, letter.sender):
            return
        boxes = self._routes.get(letter.to)
        if boxes is None:
            self._refuse(letter, source, shown, self.unknown(letter.to), now, actions)
            return
        box = boxes[0] if len(boxes) == 1 else min(boxes, key=lambda box: (bool(box.closed), not box.is_up, box.depth))
        if box.closed or (flags & FAIL_WHEN_DOWN and not box.is_up):
            reason = box.closed or "it is down"
            down = AgentDown(f"{letter.to!r} takes no messages: {reason}. `actorsys why {letter.to}` says more.",
                             reason=reason, may_have_run=False)  # fmt: skip
            self._refuse(letter, source, shown, down, now, actions)
            return
        number = self._next
        self._next = number + 1
        if kind == ASK:
            self._replies.open(number, source, letter.id, box, flags & STREAM > 0)
        letter.id = number
        if not flags & REMOTE:
            letter.sender = shown
        if box.is_disk:
            self._durable.put(box, letter)
        else:
            box.put(letter)
        self.touched[box.name] = box
        if not number % SAMPLE:
            box.since[number] = now
        if box.is_full:
            self._filled(box, letter, source, now, actions)

    def _is_repeated(self, letter: Letter, source: str) -> bool:
        """Whether this tell of a handler that runs again was taken the first time."""
        box = self.boxes.get(source)
        if box is None or not (letter.cause in box.out or letter.cause in box.suspects or letter.cause in box.ended):
            return False
        taken = self._taken.get(letter.cause, 0)
        if letter.ordinal <= taken:
            self.repeated_tells += 1
            return True
        self._taken[letter.cause] = letter.ordinal
        return False

    def _filled(self, box: Mailbox, letter: Letter, source: str, now: int, actions: list[Action]) -> None:
        """The letter took the last room: make some, or tell its sender, once, so that its next tell waits or raises."""
        if box.spec.overflow == "drop_oldest":
            while box.is_over and (dropped := box.drop_oldest()) is not None:
                self._bury(box, dropped, "mailbox full, oldest dropped", False, now, actions)
        elif source != box.name or letter.flags & REMOTE:
            entry = (source, letter.to)
            if entry not in box.waiting:
                box.waiting.add(entry)
                self._short.add(box.name)
                actions.append(Tell(source, Full(letter.to, box.spec.overflow == "reject")))
            else:
                before = box.flood.get(source, 0)
                box.flood[source] = after = before + len(letter.payload) + LETTER_BYTES
                if before <= FLOOD_BYTES < after and source != HOST and not letter.flags & REMOTE:
                    actions.append(Flood(source, letter.to))

    def _release(self, actions: list[Action]) -> None:
        """Tell those who wait that there is room again."""
        for name in sorted(self._short):
            box = self.boxes[name]  # one that is forgotten is closed before
            if box.closed or box.has_room:
                self._short.discard(name)
                actions += [Tell(source, Room(address)) for source, address in sorted(box.waiting)]
                box.waiting.clear()
                box.flood.clear()

    def _refuse(
        self, letter: Letter, source: str, shown: str, error: UnknownAgent | AgentDown, now: int, actions: list[Action]
    ) -> None:
        if letter.kind == ASK:
            self._fail(source, letter.id, error, actions)
            return
        if wants_end(letter):
            actions.append(Unanswered(letter, Failure.of(error, with_traceback=False)))
        if not wants_answer(letter):
            letter.id = self._next
            self._next += 1
            letter.sender = letter.sender or shown
            self._keep(letter, error.message, now, actions)

    def _fail(self, source: str, number: int, error: Exception, actions: list[Action]) -> None:
        payload = encode(Failure.of(error, with_traceback=False))
        actions.append(Deliver(source, [Letter(FAILURE, number, source, "", "", payload)]))

    def _answer(self, letter: Letter, actions: list[Action]) -> None:
        ask = self._replies.end(letter.id)
        if ask is None:
            self.late_replies += 1
            return
        if ask.is_stream and letter.kind == REPLY and letter.ordinal != ask.parts:
            self._fail(ask.source, ask.number, _broken(ask), actions)
            return
        letter.id = ask.number
        actions.append(Deliver(ask.source, [letter]))

    def _part(self, letter: Letter, actions: list[Action]) -> None:
        """Pass on a part of an answer, if it is the next one and there was credit for it; else the stream is broken."""
        ask = self._replies.get(letter.id)
        if ask is None or not ask.is_stream or letter.ordinal <= ask.parts:
            return
        if letter.ordinal > ask.parts + 1 or ask.under_way >= STREAM_WINDOW:
            self._cancel(letter.id, actions)
            self._fail(ask.source, ask.number, _broken(ask), actions)
            return
        ask.parts = letter.ordinal
        ask.under_way += weight(letter.payload)
        letter.id = ask.number
        actions.append(Deliver(ask.source, [letter]))

    def _credit(self, source: str, note: Credit, actions: list[Action]) -> None:
        number = self._replies.find(source, note.id)
        ask = None if number is None else self._replies.get(number)
        if number is None or ask is None:
            return
        units = min(note.units, ask.under_way)
        if units:
            ask.under_way -= units
            actions.append(Tell(ask.box.name, Grant(number, units)))

    def _acknowledge(self, box: Mailbox, numbers: list[int]) -> None:
        taken = self._taken
        for number in numbers:
            letter = box.acknowledge(number)
            if letter is None:
                continue
            if letter.kind == ASK and self._replies.end(number) is not None:
                box.expired += 1  # acknowledged without an answer: its deadline had passed
            else:
                box.handled += 1
            if taken:
                taken.pop(number, None)

    def _failed(self, box: Mailbox, note: Failed, now: int, actions: list[Action]) -> None:
        letter = box.acknowledge(note.id)
        self._taken.pop(note.id, None)
        if letter is not None:
            box.failed += 1
            box.dead += 1
            self._keep(letter, note.failure.line, now, actions, note.failure.traceback)  # its agent has told whoever waits

    def _forget(self, source: str, note: Forget, actions: list[Action]) -> None:
        number = self._replies.find(source, note.id)
        if number is not None:
            self._cancel(number, actions)

    def _cancel(self, number: int, actions: list[Action]) -> None:
        """The asker has gone: take the letter back, or stop its handler."""
        ask = self._replies.end(number)
        if ask is None or ask.box.withdraw(number) or self._durable.withdraw(ask.box, number):
            return
        box = ask.box
        if ask.is_stream and (letter := box.out.get(number) or box.suspects.get(number)) is not None:
            letter.deadline = 1  # should its agent die now: handled again it would wait for credit that nobody gives
        if number in box.out:
            actions.append(Tell(box.name, Cancel(number)))

    def _withdraw(self, note: Withdraw, actions: list[Action]) -> None:
        """The asker on another node has gone: as `_cancel`. A request that comes after this note is taken for one that was here."""
        for box in self._routes.get(note.to, ()):
            letter = box.find(note.message_id, note.sender)
            if letter is None:
                continue
            if letter.id in box.out:
                if letter.flags & STREAM:
                    letter.deadline = 1  # as in `_cancel`
                actions.append(Tell(box.name, Cancel(letter.id)))
            elif not box.withdraw(letter.id):
                letter.deadline = 1  # it was out at a death: its agent alone may say that it is done with
            return
        self._recent.withdraw(note.message_id, note.sender)

    def _deliver(self, box: Mailbox, now: int, actions: list[Action]) -> None:
        while box.is_up:
            letters = box.take()
            if not letters:
                break
            if box.since:
                box.waited(letters, now)
            # One that was out before may have a stored frame: only its agent can tell whether it has expired unhandled.
            late = [letter for letter in letters if 0 < letter.deadline <= now and not letter.flags & AGAIN]
            for letter in late:
                box.acknowledge(letter.id)
                box.expired += 1
                self._replies.end(letter.id)
            if late:
                letters = [letter for letter in letters if letter.id in box.out]
            if letters:
                actions.append(Deliver(box.name, letters))
            if not late:
                break

    # --- agents

    def _open(self, event: Open, now: int, actions: list[Action]) -> None:
        box = self.boxes[event.name] = Mailbox(event.name, event.spec, self.ledger)
        box.shown = event.shown
        for address in event.addresses:
            self._routes.setdefault(address, []).append(box)
        if box.is_disk:
            self._durable.open(box)
            box.restore(event.restored, event.last_frame)

    def _stored(self, event: Stored, now: int, actions: list[Action]) -> None:
        boxes, due = self._durable.stored(event.number)
        actions += due
        for box in boxes:
            self.touched[box.name] = box

    def _reopen(self, event: Reopen, now: int, actions: list[Action]) -> None:
        self.boxes[event.name].closed = ""

    def _respec(self, event: Respec, now: int, actions: list[Action]) -> None:
        box = self.touched[event.name] = self.boxes[event.name]
        box.spec, box.shown = event.spec, event.shown

    def _up(self, event: Up, now: int, actions: list[Action]) -> None:
        box = self.touched[event.name] = self.boxes[event.name]
        box.is_up = True
        for letter in [letter for letter in box.suspects.values() if self._replies.has_parts(letter.id)]:
            box.remove_suspect(letter.id)  # its first parts were in a stored frame, which came only now; else as in `_gone`
            self._end_ask(letter, "its process ended in the middle of the stream", True, actions)
        self._forget_ended(box)

    def _forget_ended(self, box: Mailbox) -> None:
        for number in box.ended:
            self._taken.pop(number, None)
        box.ended = {}

    def _gone(self, event: Gone, now: int, actions: list[Action]) -> None:
        box = self.boxes[event.name]
        blamed = box.crashed(charge=event.charge)
        taken = {number: count for number in box.suspects if (count := self._taken.get(number))}
        if blamed is not None:
            if box.is_disk:
                self._durable.charge(blamed)
            quarantined = blamed.deliveries >= box.spec.max_deliveries
            actions.append(Blamed(box.name, blamed, quarantined))
            if quarantined:
                box.remove_suspect(blamed.id)
                self._bury(
                    box, blamed, f"killed {base(box.name)!r} {blamed.deliveries} times: {event.reason}", True, now, actions
                )
        for letter in [*box.suspects.values(), *box.queue]:
            is_cut = self._replies.has_parts(letter.id)  # handled again it would begin again, and its reader has had a part
            if is_cut or (letter.flags & FAIL_WHEN_DOWN and (self._replies.is_open(letter.id) or wants_answer(letter))):
                may_have_run = box.withdraw(letter.id) is None
                if may_have_run:
                    box.remove_suspect(letter.id)
                self._end_ask(letter, event.reason, may_have_run, actions)
        # A letter that ends here may have a stored frame, which the next incarnation sends: what was taken of it counts till then.
        box.ended |= {number: count for number, count in taken.items() if number not in box.suspects}
        self._taken.update(box.ended)
        for number in self._replies.asked_by(box.name):
            self._cancel(number, actions)
        for other in self.boxes.values():
            if other.waiting:
                other.waiting = {entry for entry in other.waiting if entry[0] != box.name}

    def _close(self, event: Close, now: int, actions: list[Action]) -> None:
        box = self.boxes[event.name]
        box.closed = event.reason
        for letter, may_have_run in [*box.empty(), *((letter, False) for letter in self._durable.empty(box))]:
            if letter.kind == ASK or wants_answer(letter):
                self._end_ask(letter, event.reason, may_have_run, actions)
            else:
                self._bury(box, letter, event.reason, may_have_run, now, actions)
        self._release(actions)  # before its name is gone
        if event.forget:
            self._forget_ended(box)
            del self.boxes[event.name]
            self._replies.forget(event.name)
            self._durable.close(box.name)
            for address, boxes in list(self._routes.items()):
                if box in boxes:
                    boxes.remove(box)
                    if not boxes:
                        del self._routes[address]

    def _end_ask(self, letter: Letter, reason: str, may_have_run: bool, actions: list[Action]) -> None:
        self._taken.pop(letter.id, None)
        ask = self._replies.end(letter.id)
        if ask is None and not wants_end(letter):
            return
        ran = "its handler may have run" if may_have_run else "its handler has not run"
        message = f"{letter.to!r} ended before it answered ({ran}): {reason}"
        down = AgentDown(message, reason=reason, may_have_run=may_have_run)
        if ask is not None:
            self._fail(ask.source, ask.number, down, actions)
        else:
            actions.append(Unanswered(letter, Failure.of(down, with_traceback=False)))

    # --- dead letters

    def _bury(self, box: Mailbox, letter: Letter, reason: str, may_have_run: bool, now: int, actions: list[Action]) -> None:
        box.dead += 1
        self._taken.pop(letter.id, None)
        if letter.kind == ASK or wants_end(letter):
            self._end_ask(letter, reason, may_have_run, actions)
        self._keep(letter, reason, now, actions)

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
        self.dead_letters.add(dead)
        actions.append(dead)

    def _retry(self, event: Retry, now: int, actions: list[Action]) -> None:
        dead = self.dead_letters.remove(event.id)
        letter = Letter(TELL, 0, dead.to, dead.sender, dead.type, dead.payload, dead.priority)
        self._accept(letter, HOST, dead.sender, now, actions)


def _broken(ask: Ask) -> AgentDown:
    """For a stream whose parts do not follow each other: a process died with some, or sends without credit."""
    return AgentDown(
        f"{ask.box.shown!r} has sent {ask.parts} parts, and what came next is not the next one: the rest of the stream is lost.",
        reason="parts were lost",
        may_have_run=True,
    )
