"""What should happen to each letter, written as plainly as possible: one list of items a mailbox, searched from the front each time.

An independent statement of G1 to G3, G5, G7 and of redelivery; it shares no line with `mailbox.mailbox` and `mailbox.switchboard`.
"""

from collections.abc import Iterator
from typing import Any

from actorsys.mailbox.letter import ASK, FAIL_WHEN_DOWN, PART, REMOTE, REPLY, STREAM, TELL, Credit, Failed, Forget, Letter
from actorsys.mailbox.traffic import Close, Event, Gone, Open, Posted, Reopen, Respec, Retry, Up
from actorsys.spec import MailboxSpec

Effect = tuple[Any, ...]  # what a step leads to: its kind first
WEIGHT = 200  # bytes of a letter besides its payload
MOST_UNREAD = 256  # units of a stream
ONE_MEGABYTE = 2**20  # of payload besides one letter: as much may be out


class Item:
    """One letter in custody."""

    def __init__(self, id: int, letter: Letter, source: str) -> None:
        self.id = id
        self.letter = letter
        self.is_ask = letter.kind == ASK
        self.source = source
        self.number = letter.id  # the asker's own
        self.priority = letter.priority
        self.size = len(letter.payload)
        self.deadline = letter.deadline
        self.fail_when_down = bool(letter.flags & FAIL_WHEN_DOWN)
        self.is_open = self.is_ask  # somebody waits for the answer
        self.is_stream = self.is_ask and bool(letter.flags & STREAM)
        self.parts: list[int] = []  # what each that was passed on weighs
        self.units_read = 0
        self.place = "queue"  # "out", "suspect"
        self.went_out = 0  # when it first went out, counted over all letters
        self.was_out_at_a_death = False
        self.deliveries = 0
        self.tells_taken = 0


class Box:
    def __init__(self, name: str, spec: MailboxSpec) -> None:
        self.name = name
        self.spec = spec
        self.is_up = False
        self.closed = False
        self.items: list[Item] = []
        self.waiting: set[tuple[str, str]] = set()
        self.ended: dict[int, Item] = {}  # by a death, though their handlers may have told something; until it is up again
        self.turns = 0  # takings with mail of several priorities about
        self.low_turns = 0

    def at(self, place: str) -> list[Item]:
        return [item for item in self.items if item.place == place]

    @property
    def weight(self) -> int:
        return sum(item.size + WEIGHT for item in self.items)


class MailOracle:
    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.boxes: dict[str, Box] = {}
        self.addresses: dict[str, list[str]] = {}
        self.dead: dict[int, Letter] = {}
        self.fates: dict[int, str] = {}  # of every letter that was accepted and has left
        self.accepted: dict[int, Item] = {}
        self.last = 0
        self.sent_out = 0

    def handle(self, event: Event, now: int) -> list[Effect]:
        self.effects: list[Effect] = []
        self.now = now
        match event:
            case Open(name, spec, addresses):
                self.boxes[name] = Box(name, spec)
                for address in addresses:
                    self.addresses.setdefault(address, []).append(name)
            case Up(name):
                box = self.boxes[name]
                box.is_up = True
                for item in [item for item in box.items if item.parts and item.is_open]:  # parts of a stored frame
                    self.leave(box, item, "cut")
                    self.end_ask(item)
                box.ended.clear()
                self.deliver(self.boxes[name])
            case Respec(name, spec):
                self.boxes[name].spec = spec
                self.deliver(self.boxes[name])
            case Reopen(name):
                self.boxes[name].closed = False
            case Gone():
                self.gone(event)
            case Close():
                self.close(event)
            case Posted():
                self.posted(event)
            case Retry(number):
                letter = self.dead.pop(number)
                self.accept(Letter(TELL, 0, letter.to, "", letter.type, letter.payload, letter.priority), "$host")
                for box in self.boxes.values():
                    self.deliver(box)
        if not isinstance(event, Close):
            self.announce_room()
        return self.effects

    # --- in and out

    def posted(self, event: Posted) -> None:
        source, frame = event.name, event.frame
        for letter in frame.letters:
            if letter.kind <= ASK:
                self.accept(letter, source)
            else:
                item = self.find(letter.id)
                if item is None or not item.is_open:
                    continue
                if letter.kind == PART:
                    self.part(item, letter)
                    continue
                item.is_open = False
                is_short = item.is_stream and letter.kind == REPLY and letter.ordinal != len(item.parts)
                self.effects.append(("answer", item.source, item.number, "may have run" if is_short else "from its handler"))
        box = self.boxes.get(source)
        if box is not None:
            for number in frame.acks:
                item = self.held(box, number)
                if item is not None:
                    item.is_open = False
                    self.leave(box, item, "acknowledged")
            for note in frame.notes:
                item = self.held(box, note.id) if isinstance(note, Failed) else None
                if item is not None:
                    self.bury(box, item, "failed")
        for note in frame.notes:
            if isinstance(note, Forget | Credit):
                for item in [
                    item for item in self.everything() if item.is_open and (item.source, item.number) == (source, note.id)
                ]:
                    if isinstance(note, Forget):
                        self.nobody_waits(item)
                    else:
                        self.read(item, note.units)
        if frame.number:
            self.effects.append(("confirm", source, frame.number))
        for box in self.boxes.values():
            self.deliver(box)

    def part(self, item: Item, letter: Letter) -> None:
        """Each part once, in order, and never more than its reader has given credit for."""
        number = len(item.parts) + 1
        if not item.is_stream or letter.ordinal < number:
            return
        if letter.ordinal > number or sum(item.parts) - item.units_read >= MOST_UNREAD:
            self.nobody_waits(item)
            self.effects.append(("answer", item.source, item.number, "may have run"))
            return
        item.parts.append(1 + len(letter.payload) // 4096)
        self.effects.append(("part", item.source, item.number, number))

    def read(self, item: Item, units: int) -> None:
        box = next(box for box in self.boxes.values() if item in box.items)
        units = min(units, sum(item.parts) - item.units_read)
        if units:
            item.units_read += units
            self.effects.append(("grant", box.name, item.id, units))

    def held(self, box: Box, number: int) -> Item | None:
        """A letter that its agent has, or had when it died."""
        return next((item for item in box.items if item.id == number and item.place != "queue"), None)

    def accept(self, letter: Letter, source: str) -> None:
        if letter.kind == TELL and letter.cause and source in self.boxes:
            box = self.boxes[source]
            cause = self.held(box, letter.cause) or box.ended.get(letter.cause)
            if cause is not None:
                if letter.ordinal <= cause.tells_taken:
                    return  # its handler runs again
                cause.tells_taken = letter.ordinal
        names = self.addresses.get(letter.to, [])
        boxes = [self.boxes[name] for name in names]
        boxes.sort(key=lambda box: (box.closed, not box.is_up, len(box.items)))  # stable: the first of equals
        if not boxes or boxes[0].closed or (letter.flags & FAIL_WHEN_DOWN and not boxes[0].is_up):
            if letter.kind == ASK:
                self.effects.append(("answer", source, letter.id, "has not run"))
            else:
                self.last += 1
                self.dead[self.last] = letter
                self.effects.append(("dead", self.last))
            return
        box = boxes[0]
        self.last += 1
        item = Item(self.last, letter, source)
        self.accepted[item.id] = item
        box.items.append(item)
        if box.spec.overflow == "drop_oldest":
            while self.share(box) > 1 and box.at("queue"):
                lowest = max(item.priority for item in box.at("queue"))
                self.bury(box, next(item for item in box.at("queue") if item.priority == lowest), "dropped")
        elif self.share(box) >= 1 and (source != box.name or letter.flags & REMOTE) and (source, letter.to) not in box.waiting:
            box.waiting.add((source, letter.to))
            self.effects.append(("full", source, letter.to, box.spec.overflow == "reject"))

    def share(self, box: Box) -> float:
        """How full it is, by the bound that is nearest; 1 is full."""
        total = sum(each.weight for each in self.boxes.values())
        return max(len(box.items) / box.spec.size, box.weight / box.spec.bytes, total / self.max_bytes)

    def announce_room(self) -> None:
        for box in self.boxes.values():
            if box.waiting and (box.closed or self.share(box) <= 0.5):
                self.effects += [("room", source, address) for source, address in box.waiting]
                box.waiting = set()

    def deliver(self, box: Box) -> None:
        while box.is_up and (item := self.next(box)) is not None:
            if item.deadline and item.deadline <= self.now and not item.was_out_at_a_death:
                item.is_open = False
                self.leave(box, item, "expired")
                continue
            item.place = "out"
            if not item.went_out:
                self.sent_out += 1
                item.went_out = self.sent_out
            self.effects.append(("deliver", box.name, item.id))

    def next(self, box: Box) -> Item | None:
        """The letter that may go out now."""
        out = box.at("out")
        if any(item.was_out_at_a_death for item in box.items):  # one at a time, in the order they went out
            return None if out else min(box.at("suspect"), key=lambda item: item.went_out)
        queue = box.at("queue")
        if not queue or len(out) >= box.spec.window or (out and sum(item.size for item in out) >= ONE_MEGABYTE):
            return None
        first = {item.priority: item for item in reversed(queue)}  # the oldest of each priority
        priorities = sorted(first)
        if priorities == [3]:
            return first[3]
        box.turns += 1
        if len(priorities) > 1 and box.turns % 4 == 0:  # so that each of four lower lanes gets one of sixteen
            box.low_turns += 1
            lower = priorities[1:]
            return first[lower[box.low_turns % len(lower)]]
        return first[priorities[0]]

    # --- ends

    def leave(self, box: Box, item: Item, fate: str) -> None:
        if item.id in self.fates:
            raise AssertionError(f"letter {item.id} leaves twice")
        self.fates[item.id] = fate
        box.items.remove(item)

    def end_ask(self, item: Item) -> None:
        if item.is_open:
            item.is_open = False
            self.effects.append(("answer", item.source, item.number, "may have run" if item.went_out else "has not run"))

    def bury(self, box: Box, item: Item, fate: str) -> None:
        self.leave(box, item, fate)
        self.end_ask(item)
        self.dead[item.id] = item.letter
        self.effects.append(("dead", item.id))

    def nobody_waits(self, item: Item) -> None:
        item.is_open = False
        box = next(box for box in self.boxes.values() if item in box.items)
        if item.place == "queue":
            self.leave(box, item, "withdrawn")
        elif item.place == "out":
            self.effects.append(("cancel", box.name, item.id))

    def gone(self, event: Gone) -> None:
        box = self.boxes[event.name]
        box.is_up = False
        out = box.at("out")
        for item in out:
            item.place, item.was_out_at_a_death = "suspect", True
        suspects = [item for item in box.at("suspect") if item.tells_taken]
        if event.charge and len(out) == 1:  # so it was this one
            (item,) = out
            item.deliveries += 1
            over = item.deliveries >= box.spec.max_deliveries
            self.effects.append(("blamed", box.name, item.id, over))
            if over:
                self.bury(box, item, "quarantined")
        for item in [item for item in box.items if (item.fail_when_down or item.parts) and item.is_open]:
            self.leave(box, item, "down")
            self.end_ask(item)
        box.ended |= {item.id: item for item in suspects if item not in box.items}
        for item in [item for item in self.everything() if item.is_open and item.source == box.name]:
            self.nobody_waits(item)
        for other in self.boxes.values():
            other.waiting = {(source, address) for source, address in other.waiting if source != box.name}

    def close(self, event: Close) -> None:
        box = self.boxes[event.name]
        box.closed = True
        box.turns = box.low_turns = 0
        for item in list(box.items):
            if item.is_ask:
                self.leave(box, item, "closed")
                self.end_ask(item)
            else:
                self.bury(box, item, "closed")
        self.announce_room()
        if event.forget:
            del self.boxes[event.name]
            for names in self.addresses.values():
                if event.name in names:
                    names.remove(event.name)

    def everything(self) -> Iterator[Item]:
        for box in self.boxes.values():
            yield from list(box.items)

    def find(self, number: int) -> Item | None:
        return next((item for item in self.everything() if item.id == number), None)
