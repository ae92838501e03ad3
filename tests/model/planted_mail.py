"""Bugs of the mail to be found: each is one wrong line, put into the switchboard for the length of a test."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from actorsys.mailbox.letter import AGAIN, FAILURE, Full, Grant, Letter
from actorsys.mailbox.mailbox import Lanes, Ledger, Mailbox
from actorsys.mailbox.replies import Replies
from actorsys.mailbox.switchboard import Switchboard
from actorsys.mailbox.traffic import Deliver, Gone, Tell

Patch = Callable[[pytest.MonkeyPatch], None]


def acknowledgement_forgets_a_suspect(patch: pytest.MonkeyPatch) -> None:
    acknowledge = Mailbox.acknowledge
    patch.setattr(Mailbox, "acknowledge", lambda self, number: acknowledge(self, number) if number in self.out else None)


def acknowledgement_of_one_takes_all(patch: pytest.MonkeyPatch) -> None:
    acknowledge = Mailbox.acknowledge

    def wrong(self: Mailbox, number: int) -> Letter | None:
        letter = acknowledge(self, number)
        if letter is not None and len(self.out) == 1:
            acknowledge(self, next(iter(self.out)))
        return letter

    patch.setattr(Mailbox, "acknowledge", wrong)


def redelivery_out_of_order(patch: pytest.MonkeyPatch) -> None:
    crashed = Mailbox.crashed

    def wrong(self: Mailbox, *, charge: bool) -> Letter | None:
        blamed = crashed(self, charge=charge)
        self.suspects = dict(reversed(self.suspects.items()))
        return blamed

    patch.setattr(Mailbox, "crashed", wrong)


def redelivery_behind_new_mail(patch: pytest.MonkeyPatch) -> None:
    crashed = Mailbox.crashed

    def wrong(self: Mailbox, *, charge: bool) -> Letter | None:
        blamed = crashed(self, charge=charge)
        if blamed is None:
            for letter in self.suspects.values():
                self.queue.put(letter)
            self.suspects, self.is_careful = {}, False
        return blamed

    patch.setattr(Mailbox, "crashed", wrong)


def redelivery_all_at_once(patch: pytest.MonkeyPatch) -> None:
    take = Mailbox.take

    def wrong(self: Mailbox) -> list[Letter]:
        letters: list[Letter] = []
        while self.suspects:
            letters.append(self.suspects.pop(next(iter(self.suspects))))
            self._send(letters[-1])
        self.is_careful = False
        return letters + take(self)

    patch.setattr(Mailbox, "take", wrong)


def all_outstanding_are_charged(patch: pytest.MonkeyPatch) -> None:
    crashed = Mailbox.crashed

    def wrong(self: Mailbox, *, charge: bool) -> Letter | None:
        several = list(self.out.values()) if charge and len(self.out) > 1 else []
        blamed = crashed(self, charge=charge)
        for letter in several:
            letter.deliveries += 1
        return several[0] if several else blamed

    patch.setattr(Mailbox, "crashed", wrong)


def every_death_is_charged(patch: pytest.MonkeyPatch) -> None:
    crashed = Mailbox.crashed
    patch.setattr(Mailbox, "crashed", lambda self, *, charge: crashed(self, charge=True))


def quarantine_one_death_too_late(patch: pytest.MonkeyPatch) -> None:
    gone = Switchboard._gone

    def wrong(self: Switchboard, event: Gone, now: int) -> list[Any]:
        box = self.boxes[event.name]
        for letter in box.out.values():
            letter.deliveries -= letter.deliveries == box.spec.max_deliveries - 1
        return gone(self, event, now)

    patch.setattr(Switchboard, "_gone", wrong)


def window_ignored(patch: pytest.MonkeyPatch) -> None:
    take = Mailbox.take

    def wrong(self: Mailbox) -> list[Letter]:
        letters = take(self)
        while self.queue and not self.is_careful:
            letters.append(self.queue.take())
            self._send(letters[-1])
        return letters

    patch.setattr(Mailbox, "take", wrong)


def overflow_not_announced(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mailbox, "is_full", property(lambda self: False))


def overflow_announced_to_every_letter(patch: pytest.MonkeyPatch) -> None:
    filled = Switchboard._filled

    def wrong(self: Switchboard, box: Mailbox, letter: Letter, source: str, now: int, actions: list[Any]) -> None:
        repeated = (source, letter.to) in box.waiting
        filled(self, box, letter, source, now, actions)
        if repeated:
            actions.append(Tell(source, Full(letter.to)))

    patch.setattr(Switchboard, "_filled", wrong)


def room_never_announced(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mailbox, "has_room", property(lambda self: False))


def bytes_of_the_node_not_given_back(patch: pytest.MonkeyPatch) -> None:
    gone = Mailbox._gone

    def wrong(self: Mailbox, letter: Letter) -> None:
        before = self.ledger.bytes
        gone(self, letter)
        if letter.flags & AGAIN:
            self.ledger.bytes = before

    patch.setattr(Mailbox, "_gone", wrong)


def reply_delivered_twice(patch: pytest.MonkeyPatch) -> None:
    end = Replies.end
    patch.setattr(Replies, "end", lambda self, number: end(self, number) or self.__dict__.get("last"))
    opened = Replies.open

    def remember(self: Replies, letter_id: int, source: str, number: int, box: Mailbox) -> None:
        opened(self, letter_id, source, number, box)
        self.last = self._asks[letter_id]  # type: ignore[attr-defined]

    patch.setattr(Replies, "open", remember)


def quarantined_ask_never_answered(patch: pytest.MonkeyPatch) -> None:
    end_ask = Switchboard._end_ask

    def wrong(self: Switchboard, letter: Letter, reason: str, may_have_run: bool, actions: list[Any]) -> None:
        if not letter.deliveries:
            end_ask(self, letter, reason, may_have_run, actions)

    patch.setattr(Switchboard, "_end_ask", wrong)


def ordinal_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Switchboard, "_is_repeated", lambda self, letter, source: False)


def ordinal_forgotten_of_a_suspect(patch: pytest.MonkeyPatch) -> None:
    """A bug that was there: the stored frame of one letter may carry tells of the next, which is still a suspect."""
    is_repeated = Switchboard._is_repeated

    def wrong(self: Switchboard, letter: Letter, source: str) -> bool:
        box = self.boxes.get(source)
        return box is not None and letter.cause in box.out and is_repeated(self, letter, source)

    patch.setattr(Switchboard, "_is_repeated", wrong)


def expired_letter_delivered(patch: pytest.MonkeyPatch) -> None:
    deliver = Switchboard._deliver
    patch.setattr(Switchboard, "_deliver", lambda self, box, now, actions: deliver(self, box, 0, actions))


def expiry_hides_a_stored_frame(patch: pytest.MonkeyPatch) -> None:
    """A bug that was there: what was handled and committed expires before its frame is sent again."""
    deliver = Switchboard._deliver

    def wrong(self: Switchboard, box: Mailbox, now: int, actions: list[Any]) -> None:
        late = [letter for letter in box.suspects.values() if letter.deadline and letter.deadline <= now]
        for letter in late:
            box.remove_suspect(letter.id)
            self._replies.end(letter.id)
        deliver(self, box, now, actions)

    patch.setattr(Switchboard, "_deliver", wrong)


def cancelled_ask_stays_queued(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mailbox, "withdraw", lambda self, number: None)


def cancelled_handler_goes_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Switchboard, "_cancel", lambda self, number, actions: self._replies.end(number))


def asks_of_the_dead_stay_open(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Replies, "asked_by", lambda self, source: [])


def ask_waits_although_it_should_fail(patch: pytest.MonkeyPatch) -> None:
    gone = Switchboard._gone

    def wrong(self: Switchboard, event: Gone, now: int) -> list[Any]:
        box = self.boxes[event.name]
        for letter in (*box.out.values(), *box.queue):
            letter.flags &= ~2
        return gone(self, event, now)

    patch.setattr(Switchboard, "_gone", wrong)


def lowest_priority_first(patch: pytest.MonkeyPatch) -> None:
    put = Lanes.put

    def wrong(self: Lanes, letter: Letter) -> None:
        priority, letter.priority = letter.priority, 6 - letter.priority
        put(self, letter)
        letter.priority = priority

    patch.setattr(Lanes, "put", wrong)


def low_lane_starves(patch: pytest.MonkeyPatch) -> None:
    take = Lanes.take

    def wrong(self: Lanes) -> Letter:
        self._turn = 0
        return take(self)

    patch.setattr(Lanes, "take", wrong)


def newest_dropped_instead_of_the_oldest(patch: pytest.MonkeyPatch) -> None:
    def wrong(self: Lanes) -> Letter:
        lane = next(lane for lane in reversed(self._lanes) if lane)
        self._size -= 1
        return lane.pop()

    patch.setattr(Lanes, "drop_oldest", wrong)


def node_without_a_bound(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "limit", property(lambda self: 2**62, lambda self, value: None), raising=False)


def closing_keeps_what_is_out(patch: pytest.MonkeyPatch) -> None:
    empty = Mailbox.empty

    def wrong(self: Mailbox) -> list[tuple[Letter, bool]]:
        return [(letter, ran) for letter, ran in empty(self) if not ran]

    patch.setattr(Mailbox, "empty", wrong)


def failed_tell_forgotten(patch: pytest.MonkeyPatch) -> None:
    def wrong(self: Switchboard, box: Mailbox, note: Any, now: int, actions: list[Any]) -> None:
        box.acknowledge(note.id)
        self._taken.pop(note.id, None)

    patch.setattr(Switchboard, "_failed", wrong)


def answers_go_to_the_host(patch: pytest.MonkeyPatch) -> None:
    answer = Switchboard._answer

    def wrong(self: Switchboard, letter: Letter, actions: list[Any]) -> None:
        answer(self, letter, actions)
        if actions and isinstance(actions[-1], Deliver) and letter.kind == FAILURE:
            actions[-1].to = "$host"

    patch.setattr(Switchboard, "_answer", wrong)


def part_lost(patch: pytest.MonkeyPatch) -> None:
    part = Switchboard._part

    def wrong(self: Switchboard, letter: Letter, actions: list[Any]) -> None:
        last = letter.ordinal == 3
        part(self, letter, actions)
        if last:
            actions.pop()

    patch.setattr(Switchboard, "_part", wrong)


def part_passed_on_twice(patch: pytest.MonkeyPatch) -> None:
    part = Switchboard._part

    def wrong(self: Switchboard, letter: Letter, actions: list[Any]) -> None:
        ask = self._replies.get(letter.id)
        if ask is not None and letter.ordinal == ask.parts:
            ask.parts -= 1  # a handler that runs again is taken for one that goes on
        part(self, letter, actions)

    patch.setattr(Switchboard, "_part", wrong)
    patch.setattr(Replies, "has_parts", lambda self, letter_id: False)


def stream_begins_again_after_a_death(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Replies, "has_parts", lambda self, letter_id: False)


def credit_given_twice(patch: pytest.MonkeyPatch) -> None:
    credit = Switchboard._credit

    def wrong(self: Switchboard, source: str, note: Any, actions: list[Any]) -> None:
        credit(self, source, note, actions)
        if actions and isinstance(actions[-1], Tell) and isinstance(actions[-1].note, Grant):
            actions.append(actions[-1])

    patch.setattr(Switchboard, "_credit", wrong)


def parts_pass_without_credit(patch: pytest.MonkeyPatch) -> None:
    credit_given_twice(patch)
    patch.setattr("actorsys.mailbox.switchboard.STREAM_WINDOW", sys.maxsize)


BUGS: list[Patch] = [
    value for value in list(globals().values()) if callable(value) and getattr(value, "__module__", "") == __name__
]
