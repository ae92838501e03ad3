"""The mail of a node whose agents die at any moment, chosen by a seed: `python -m tests.model.simulate_mail --seeds 2000`.

Agents handle letters by small programs that depend on the letter alone, so that a handler that runs again does the same again; they
wait half-way, raise, die, and are killed before, during and after. Durable ones commit each frame before it leaves. Then the faults
cease, everything must be worked off, and nothing may be lost, doubled or out of order. Each step is checked against the oracle, too;
without the oracle frames are taken several at a time before the switchboard settles, as its driver does it.
"""

import argparse
import random
import sys
import traceback
from collections import Counter

from actorsys.mailbox.codec import decode, decode_frame, encode_frame
from actorsys.mailbox.dead_letters import Action, DeadLetter
from actorsys.mailbox.letter import (
    AGAIN,
    ASK,
    FAIL_WHEN_DOWN,
    FAILURE,
    HOST,
    PART,
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
    Note,
    Room,
    weight,
)  # fmt: skip
from actorsys.mailbox.switchboard import Switchboard
from actorsys.mailbox.traffic import Blamed, Close, Confirm, Deliver, Event, Gone, Open, Posted, Reopen, Respec, Retry, Tell, Up
from actorsys.messages import Failure
from actorsys.spec import MailboxSpec
from actorsys.units import Bytes
from tests.model.mail_oracle import Effect, MailOracle

PAYLOADS = (b"", b"x" * 300, bytes(2**19))  # two of the last fill what may be out at once
FROM_HANDLER = b"!"  # payload of a failure that an agent sent
FAILED = Failure(kind="RemoteError", type="ValueError", message="no luck")


class Broken(AssertionError):
    """An invariant does not hold, or machine and oracle disagree."""


class Reader:
    """A stream as who asked for it sees it."""

    def __init__(self, deadline: int) -> None:
        self.deadline = deadline
        self.has_left = False
        self.parts: list[int] = []  # what each weighs
        self.unread = 0  # units
        self.owed = 0  # read, and not given back


class Handling:
    """A handler that runs: where it is in its program, and what it has sent that has not left."""

    def __init__(self, letter: Letter, program: list[str]) -> None:
        self.letter = letter
        self.program = program
        self.at = 0
        self.sends: list[Letter] = []
        self.told = 0
        self.asked = 0  # the number of the ask it waits for
        self.ask_deadline = 0
        self.parts = 0
        self.credit = STREAM_WINDOW


class Disk:
    """What a durable agent has stored."""

    def __init__(self) -> None:
        self.frames: dict[int, bytes] = {}  # letter -> the frame that acknowledges it
        self.ids: dict[int, tuple[int, ...]] = {}  # number of the frame -> all letters that it acknowledges


class Life:
    """One incarnation: its end of the pipe, its queue, its handler."""

    def __init__(self, name: str, disk: Disk | None, number: int) -> None:
        self.name = name
        self.disk = disk
        self.number = number << 16 | 1
        self.incoming: list[Letter | Note | int] = []
        self.queue: list[Letter] = []
        self.running: Handling | None = None
        self.acks: list[int] = []
        self.letters: list[Letter] = []
        self.notes: list[Failed | Credit | Forget] = []
        self.uncommitted: list[Frame] = []
        self.committed: list[bytes] = []
        self.wire: list[bytes] = []  # written, not yet read by the supervisor
        self.full: dict[str, bool] = {}
        self.handled: set[int] = set()  # by an earlier life, whose frames go first

    def next(self) -> int:
        self.number += 1
        return self.number

    def flush(self) -> None:
        handling = self.running
        if handling is not None and handling.sends:
            self.count(handling)
            self.letters += handling.sends
            handling.sends = []
        if not (self.acks or self.letters or self.notes):
            return
        frame = Frame(self.acks, self.letters, list(self.notes), self.next() if self.disk else 0)
        self.acks, self.letters, self.notes = [], [], []
        if self.disk is None:
            self.wire.append(_encoded(frame))
        else:
            self.uncommitted.append(frame)

    def count(self, handling: Handling) -> None:
        for letter in handling.sends:
            if letter.kind == TELL:
                handling.told += 1
                letter.cause, letter.ordinal = handling.letter.id, handling.told


class World:
    def __init__(self, seed: int, *, with_oracle: bool = True) -> None:
        self.seed = seed
        self.rng = rng = random.Random(seed)
        self.trace: list[str] = []
        self.now = 1
        self.faults = True
        self.ends = False  # the end phase: every wait is short
        max_bytes = rng.choice([5_000, 3 * 2**20, sys.maxsize])
        self.board = Switchboard(max_bytes)
        self.oracle = MailOracle(max_bytes) if with_oracle else None
        self.gathers = None if with_oracle else random.Random(seed)  # when several frames are taken before it settles
        self.specs: dict[str, MailboxSpec] = {}
        self.disks: dict[str, Disk | None] = {}
        self.lives: dict[str, Life | None] = {}
        self.closed: set[str] = set()
        self.births = 0
        self.host_number = 0
        self.host_full: dict[str, bool] = {}
        self.payloads = PAYLOADS[: rng.choice([2, 2, 3])]
        self.is_rude = rng.random() < 0.15  # the host sends whatever it was told
        self.pace = rng.choice([0.02, 0.05, 0.2])  # how much of what happens is trouble
        self.load = rng.choice([0.3, 0.9])
        # What an outsider knows
        self.sent: dict[str, Letter] = {}  # by its mark: what custody was given
        self.done: Counter[str] = Counter()  # marks of letters whose handlers ended, and whose frame is out or stored
        self.ended: set[str] = set()  # marks that had another end
        self.retried: set[str] = set()
        self.ids: dict[str, set[int]] = {}  # mark -> ids under which it was delivered
        self.stored: Counter[int] = Counter()
        self.deaths: Counter[int] = Counter()
        self.answers: Counter[tuple[str, int]] = Counter()
        self.asks: dict[tuple[str, int], str] = {}
        self.readers: dict[tuple[str, int], Reader] = {}  # of streams that have not ended
        self.last_ack: dict[tuple[str, str, int], int] = {}
        self.out: dict[int, Letter] = {}
        for index in range(rng.randint(1, 3)):
            self.open(f"{'abc'[index]}/0", ("abc"[index], f"{'abc'[index]}/0"))
        if rng.random() < 0.3:
            self.open("a/1", ("a", "a/1"))

    def open(self, name: str, addresses: tuple[str, ...]) -> None:
        rng = self.rng
        self.specs[name] = self.spec()
        self.disks[name] = rng.choice([None, Disk(), Disk()])
        self.lives[name] = None
        self.handle(Open(name, self.specs[name], addresses, name))

    def spec(self, deliveries: int = 0) -> MailboxSpec:
        rng = self.rng
        return MailboxSpec(
            size=rng.choice([1, 3, 10, 50]),
            bytes=Bytes(rng.choice([900, 2**20, 2**24])),
            overflow=rng.choice(["block", "block", "reject", "drop_oldest"]),
            window=rng.choice([1, 2, 5, 256]),
            max_deliveries=deliveries or rng.choice([1, 2, 3]),
        )

    # The switchboard and its driver

    def handle(self, event: Event) -> None:
        self.trace.append(f"{self.now:7} {_short(event)}")
        copy = _copied(event)
        actions: list[Action] = []
        if self.gathers is not None and isinstance(event, Posted):
            self.board.take(event.name, event.frame, self.now, actions)
            if self.ends or self.gathers.random() < 0.3:
                self.board.settle(self.now, actions)
        else:
            actions = self.board.handle(event, self.now)
        if self.oracle is not None:
            did, should = _effects(actions), self.oracle.handle(copy, self.now)
            if not _same(did, should):
                raise Broken(f"{_short(event)}: the switchboard did\n  {did}\nthe rules say\n  {should}")
            depths = {name: (box.depth, box.bytes, len(box.out)) for name, box in self.board.boxes.items()}
            rules = {name: (len(box.items), box.weight, len(box.at("out"))) for name, box in self.oracle.boxes.items()}
            if depths != rules:
                raise Broken(f"{_short(event)}: the switchboard holds {depths}, the rules say {rules}")
        self.perform_all(actions)

    def perform_all(self, actions: list[Action]) -> None:
        for action in actions:
            self.trace.append(f"{'':7}    {_short(action)}")
            self.perform(action)

    def perform(self, action: Action) -> None:
        match action:
            case Deliver(to, letters):
                for letter in letters:
                    if letter.kind == PART:
                        self.got_part(to, letter)
                    elif letter.kind <= ASK:
                        self.ids.setdefault(letter.type, set()).add(letter.id)
                        self.out[letter.id] = letter
                    else:
                        self.answered(to, letter)
                life = self.lives.get(to)
                if life is not None:
                    life.incoming += decode_frame(_encoded(Frame([], letters))).letters
            case Confirm(to, number):
                self.down(to, number)
            case Tell(to, Full(address, reject)) if to == HOST:
                self.host_full[address] = reject
            case Tell(to, Room(address)) if to == HOST:
                self.host_full.pop(address, None)
            case Tell(to, note):
                self.down(to, note)
            case DeadLetter():
                self.ended.add(action.type)
            case Blamed(name, letter):
                self.expect(
                    letter.deliveries <= self.board.boxes[name].spec.max_deliveries, f"{letter.type} is charged too often"
                )

    def down(self, to: str, what: Note | int) -> None:
        life = self.lives.get(to)
        if life is not None:
            life.incoming.append(what)

    def got_part(self, to: str, letter: Letter) -> None:
        reader = self.readers.get((to, letter.id))
        if reader is None:
            raise Broken(f"a part of stream {letter.id} of {to} comes when it has ended")
        if reader.has_left:
            return
        self.expect(
            letter.ordinal == len(reader.parts) + 1, f"part {letter.ordinal} of {letter.id} comes as {len(reader.parts) + 1}"
        )
        self.expect(
            reader.unread < STREAM_WINDOW, f"stream {letter.id} of {to}: {reader.unread} units are unread, and more comes"
        )
        reader.parts.append(weight(letter.payload))
        reader.unread += weight(letter.payload)

    def read_parts(self) -> None:
        """Somebody reads what has come of a stream, and gives credit for some of it."""
        for (to, number), reader in list(self.readers.items()):
            if not reader.has_left and (self.rng.random() < 0.5 or self.ends):
                reader.owed += reader.unread
                reader.unread = 0
            if reader.owed >= STREAM_WINDOW // 2:
                credit = Credit(number, reader.owed)
                reader.owed = 0
                if to == HOST:
                    self.post(HOST, Frame([], [], [credit]))
                elif (life := self.lives.get(to)) is not None:
                    life.notes.append(credit)

    def answered(self, to: str, letter: Letter) -> None:
        reader = self.readers.pop((to, letter.id), None)
        if reader is not None and letter.kind == REPLY and not reader.has_left:
            self.expect(
                letter.ordinal == len(reader.parts), f"{letter.ordinal - len(reader.parts)} parts of {letter.id} are lost"
            )
        self.answers[to, letter.id] += 1
        self.expect(self.answers[to, letter.id] == 1, f"ask {letter.id} of {to} ends twice")
        mark = self.asks.get((to, letter.id))
        if mark is not None:
            self.ended.add(mark)

    def post(self, source: str, frame: Frame) -> None:
        for letter in frame.letters:
            if letter.kind <= ASK:
                self.sent[letter.type] = letter
                if letter.kind == ASK:
                    self.asks[source, letter.id] = letter.type
                    if letter.flags & STREAM:
                        self.readers[source, letter.id] = Reader(letter.deadline)
        for number in frame.acks:
            held = self.out.get(number)
            box = self.board.boxes.get(source)
            if held is not None and box is not None and (number in box.out or number in box.suspects):
                key = (source, held.sender, held.priority)
                self.expect(self.last_ack.get(key, 0) < number, f"{held.type} is handled after one that was sent later")
                self.last_ack[key] = number
        self.handle(Posted(source, frame))

    # What happens

    def run(self) -> None:
        for _ in range(self.rng.choice([50, 300, 900])):
            self.now += self.rng.choice([0, 0, 1, 3])
            if self.rng.random() < self.pace:
                self.trouble()
            else:
                moves = [self.agent_moves, self.agent_moves, self.agent_moves, self.read, self.read_parts]
                self.rng.choice([self.host_sends, *moves] if self.rng.random() < self.load else moves)()
        self.faults = False
        self.work_off()
        self.check_the_end()

    def host_sends(self) -> None:
        rng = self.rng
        to = rng.choice([*sorted({address for name in self.lives for address in (name, name[0])}), "nobody"])
        if to in self.host_full and not self.is_rude:
            return
        self.host_number += 1
        kind = rng.choice([TELL, TELL, ASK])
        letter = Letter(kind, 0, to, "", f"h{self.host_number}", rng.choice(self.payloads), rng.choice([1, 2, 3, 3, 3, 3, 4, 5]))
        if kind == ASK:
            letter.id = self.host_number
            letter.flags = (FAIL_WHEN_DOWN if rng.random() < 0.2 else 0) | (STREAM if rng.random() < 0.4 else 0)
            letter.deadline = self.now + rng.choice([5, 50, 10_000])
        self.post(HOST, Frame([], [letter]))

    def agent_moves(self) -> None:
        life = self.lives[self.rng.choice(list(self.lives))]
        if life is not None:
            for _ in range(self.rng.choice([1, 3, 10])):
                if self.lives[life.name] is life:
                    self.rng.choice([self.receive, self.step, self.step, self.flush, self.commit, self.write])(life)

    def read(self) -> None:
        """The supervisor reads a frame."""
        life = self.lives[self.rng.choice(list(self.lives))]
        if life is not None and life.wire:
            self.post(life.name, decode_frame(life.wire.pop(0)))

    def trouble(self) -> None:
        rng = self.rng
        name = rng.choice(list(self.lives))
        life = self.lives[name]
        if life is None:
            if rng.random() < 0.1 and name not in self.closed:
                self.forget_marks(name)
                self.closed.add(name)
                self.handle(Close(name, "it has failed"))
            elif rng.random() < 0.1:
                self.removed(name)
            else:
                self.born(name)
            return
        what = rng.choice(["kill", "kill", "kill", "stop", "jump", "cancel", "cancel", "retry", "respec"])
        if what == "kill":
            self.died(life, charge=True)
        elif what == "stop":
            self.died(life, charge=False)
        elif what == "jump":
            self.now += rng.choice([10, 100, 1000])
        elif what == "cancel" and self.host_number:
            number = rng.randint(1, self.host_number)
            self.ended.add(f"h{number}")
            self.readers.pop((HOST, number), None)
            self.post(HOST, Frame([], [], [Forget(number)]))
        elif what == "retry" and len(self.board.dead_letters):
            dead = rng.choice(list(self.board.dead_letters))
            self.retried.add(dead.type)
            self.handle(Retry(dead.id))
        elif what == "respec":
            self.handle(Respec(name, self.spec(self.specs[name].max_deliveries), name))

    def born(self, name: str) -> None:
        if name in self.closed:
            self.closed.discard(name)
            self.handle(Reopen(name))
        self.births += 1
        self.lives[name] = life = Life(name, self.disks[name], self.births)
        self.send_again(life)
        self.handle(Up(name))

    def send_again(self, life: Life) -> None:
        """First go, in order, the frames that were committed and not taken."""
        if life.disk is None:
            return
        frames = {decode_frame(data).number: data for data in life.disk.frames.values()}
        for number in sorted(frames):
            ids = life.disk.ids[number]
            if number > self.board.boxes[life.name].last_frame:
                self.post(life.name, decode_frame(frames[number]))
                life.handled.update(ids)
            else:
                for letter in ids:
                    life.disk.frames.pop(letter, None)

    def died(self, life: Life, *, charge: bool) -> None:
        for data in life.wire:  # the pipe is read to the end first
            self.post(life.name, decode_frame(data))
        self.lives[life.name] = None
        for (source, number), mark in self.asks.items():
            if source == life.name and not self.answers[source, number]:
                self.ended.add(mark)  # nobody waits for it any more
                self.readers.pop((source, number), None)
        self.handle(Gone(life.name, "killed by SIGKILL", charge))

    def removed(self, name: str) -> None:
        self.forget_marks(name)
        self.closed.discard(name)
        self.handle(Close(name, "it has ended", forget=True))
        disk = self.disks[name]
        if disk is not None:
            disk.frames.clear()
        self.handle(Open(name, self.specs[name], (name[0], name), name))

    def forget_marks(self, name: str) -> None:
        """An ask that nobody waits for ends in silence with its mailbox."""
        box = self.board.boxes[name]
        self.ended |= {letter.type for letter in (*box.out.values(), *box.suspects.values(), *box.queue) if letter.kind == ASK}

    # The runtime of an agent

    def receive(self, life: Life) -> None:
        if not life.incoming:
            return
        got = life.incoming.pop(0)
        running = life.running
        match got:
            case int():
                if life.disk is not None:
                    for each in life.disk.ids.pop(got, ()):
                        life.disk.frames.pop(each, None)
            case Letter(kind) if kind <= ASK:
                life.queue.append(got)
            case Letter(kind, number):
                if running is not None and running.asked == number and kind != PART:
                    running.asked = 0
            case Full(address, reject):
                life.full[address] = reject
            case Room(address):
                life.full.pop(address, None)
            case Grant(number, units):
                if running is not None and running.letter.id == number:
                    running.credit += units
            case Cancel(number):
                if running is not None and running.letter.id == number:
                    running.sends.clear()
                    self.finish(life, running)
                for letter in life.queue:
                    if letter.id == number:
                        letter.deadline = 1

    def step(self, life: Life) -> None:
        """The handler goes on to its next step, or the next letter to its handler."""
        handling = life.running
        if handling is None:
            self.begin(life)
            return
        if handling.asked:
            reader = self.readers.get((life.name, handling.asked))
            if self.now < handling.ask_deadline or (reader is not None and reader.parts and self.rng.random() < 0.9):
                return
            if reader is not None:  # an ask that has timed out lets its handler run, a stream stops it
                reader.has_left = True
                life.notes.append(Forget(handling.asked))
            handling.asked = 0
        if handling.at == len(handling.program):
            if handling.letter.kind == ASK:
                life.letters.append(Letter(REPLY, handling.letter.id, "", "", "", b"", ordinal=handling.parts))
            self.finish(life, handling, completed=True)
            return
        what, _, to = handling.program[handling.at].partition(" ")
        if to in life.full and to != life.name:
            life.flush()  # waiting for room
            if not life.full[to] and self.rng.random() < 0.9:
                return
            what = "raise"  # MailboxFull
        if what == "part" and handling.credit <= 0:
            life.flush()
            return
        handling.at += 1
        match what:
            case "part":
                handling.parts += 1
                part = Letter(PART, handling.letter.id, "", "", "", PAYLOADS[int(to)], ordinal=handling.parts)
                handling.credit -= weight(part.payload)
                handling.sends.append(part)
            case "wait":
                life.flush()
            case "tell" | "ask" | "stream":
                mark = f"{handling.letter.id}.{handling.at}"
                letter = Letter(TELL, 0, to, "", mark, PAYLOADS[handling.at % 2], 3)
                if what != "tell":
                    letter.flags = STREAM if what == "stream" else 0
                    letter.kind, letter.id, letter.type = ASK, life.next(), f"{mark}@{life.number}"
                    letter.deadline = handling.ask_deadline = self.now + (3 if self.ends else 40)
                    handling.asked = letter.id
                handling.sends.append(letter)
                if what != "tell":
                    life.flush()
            case "die":
                self.deaths[handling.letter.id] += 1
                box = self.board.boxes[life.name]
                most = box.spec.max_deliveries + 1
                self.died(life, charge=True)
                self.expect(self.deaths[handling.letter.id] <= most, f"{handling.letter.type} has killed more than {most} times")
            case "raise":
                handling.sends = [each for each in handling.sends if each.kind == PART]
                if handling.letter.kind == ASK:
                    life.letters.append(Letter(FAILURE, handling.letter.id, "", "", "", FROM_HANDLER))
                    self.finish(life, handling)
                else:
                    life.notes.append(Failed(handling.letter.id, FAILED))
                    self.finish(life, handling, failed=True)

    def begin(self, life: Life) -> None:
        if not life.queue:
            life.flush()
            return
        letter = min(life.queue, key=lambda each: each.priority)  # stable
        life.queue.remove(letter)
        if letter.id in life.handled:
            self.expect(bool(letter.flags & AGAIN), f"{letter.type} was stored and comes as a new one")
            self.trace.append(f"{'':7}  {life.name} had handled {letter.id}")
        elif letter.deadline and letter.deadline <= self.now:
            self.ended.add(letter.type)
            life.acks.append(letter.id)
        else:
            life.running = Handling(letter, self.program(letter))

    def program(self, letter: Letter) -> list[str]:
        rng = random.Random(f"{self.seed} {letter.id}")
        steps = []
        if "." not in letter.type or rng.random() < 0.3:
            for _ in range(rng.choice([0, 1, 2, 4])):
                to = rng.choice(sorted(self.lives))
                steps.append(rng.choice(["wait", f"tell {to}", f"tell {to}", f"tell {to}", f"ask {to}", f"stream {to}"]))
        if letter.flags & STREAM:
            steps += [f"part {rng.randint(0, 2)}" for _ in range(rng.choice([0, 1, 3, 8]))]
            rng.shuffle(steps)
        end = rng.random()
        if end < 0.1:
            steps.append("raise" if end < 0.05 else "die")
        return steps

    def finish(self, life: Life, handling: Handling, *, completed: bool = False, failed: bool = False) -> None:
        life.running = None
        letter = handling.letter
        if handling.sends:
            if handling.told or letter.flags & AGAIN:
                life.count(handling)
            life.letters = [*life.letters[:-1], *handling.sends, *life.letters[-1:]] if letter.kind == ASK else [
                *life.letters, *handling.sends
            ]  # fmt: skip
            handling.sends = []
        if not failed:
            life.acks.append(letter.id)
        if completed:
            self.done[letter.type] += 1
        elif not failed:  # that must become a dead letter
            self.ended.add(letter.type)

    def flush(self, life: Life) -> None:
        life.flush()

    def commit(self, life: Life) -> None:
        if not life.uncommitted or life.disk is None or self.is_cut_short(life):
            return
        frame = life.uncommitted.pop(0)
        data = _encoded(frame)
        ids = (*frame.acks, *(note.id for note in frame.notes if isinstance(note, Failed)))
        if ids:
            life.disk.ids[frame.number] = ids
        for number in ids:
            life.disk.frames[number] = data
            self.stored[number] += 1
            self.expect(self.stored[number] == 1, f"letter {number} changes the state twice")
        life.committed.append(data)

    def write(self, life: Life) -> None:
        if life.committed and not self.is_cut_short(life):
            life.wire.append(life.committed.pop(0))

    def is_cut_short(self, life: Life) -> bool:
        """Killed at the worst moment: before the commit, or between the commit and the frame."""
        if not self.faults or self.rng.random() > self.pace:
            return False
        self.died(life, charge=True)
        return True

    # The end

    def work_off(self) -> None:
        """No more trouble but what is in the letters themselves."""
        self.ends = True
        actions: list[Action] = []
        self.board.settle(self.now, actions)
        self.perform_all(actions)
        for _ in range(3000):
            for name, life in list(self.lives.items()):
                if life is None:
                    self.born(name)
                    continue
                self.read_parts()
                for move in (self.receive, self.step, self.flush, self.commit, self.write):
                    for _ in range(5):
                        if self.lives[name] is life:
                            move(life)
                while self.lives[name] is life and life.wire:
                    self.post(name, decode_frame(life.wire.pop(0)))
            self.now += 1
            busy = any(
                life is None or life.incoming or life.queue or life.running or life.uncommitted or life.committed or life.wire
                for life in self.lives.values()
            )
            if not busy and not any(box.depth for box in self.board.boxes.values()):
                return
        raise Broken(f"not worked off: { {name: box.depth for name, box in self.board.boxes.items()} }")

    def check_the_end(self) -> None:
        self.expect(len(self.board._replies) == 0, f"{len(self.board._replies)} asks never end")
        self.expect(not self.board._taken, f"tells of {self.board._taken} are still counted")
        self.expect(self.board.ledger.bytes == 0, f"the node still holds {self.board.ledger.bytes} bytes")
        never = [key for key, reader in self.readers.items() if reader.deadline > self.now and not reader.has_left]
        self.expect(not never, f"streams {never} never end")
        self.expect(not self.host_full, f"nobody said that there is room again in {self.host_full}")
        for mark, letter in self.sent.items():
            fine = self.done[mark] or mark in self.ended or (letter.deadline and letter.deadline <= self.now)
            self.expect(bool(fine), f"{mark} to {letter.to} is lost")
            if mark not in self.retried and letter.kind == TELL:
                self.expect(len(self.ids.get(mark, ())) <= 1, f"{mark} was taken as {self.ids.get(mark)}")

    def expect(self, holds: bool, text: str) -> None:
        if not holds:
            raise Broken(text)


def _encoded(frame: Frame) -> bytes:
    buffer = bytearray()
    encode_frame(frame, buffer, 0)
    return bytes(buffer)


def _copied(event: Event) -> Event:
    return Posted(event.name, decode_frame(_encoded(event.frame))) if isinstance(event, Posted) else event


def _effects(actions: list[Action]) -> list[Effect]:
    effects: list[Effect] = []
    for action in actions:
        match action:
            case Deliver(to, letters):
                effects += [_delivered(to, letter) for letter in letters]
            case Confirm(to, number):
                effects.append(("confirm", to, number))
            case Tell(to, Full(address, reject)):
                effects.append(("full", to, address, reject))
            case Tell(to, Room(address)):
                effects.append(("room", to, address))
            case Tell(to, Grant(number, units)):
                effects.append(("grant", to, number, units))
            case Tell(to, Cancel(number)):
                effects.append(("cancel", to, number))
            case DeadLetter(number):
                effects.append(("dead", number))
            case Blamed(name, letter, quarantined):
                effects.append(("blamed", name, letter.id, quarantined))
    return effects


def _delivered(to: str, letter: Letter) -> Effect:
    if letter.kind == PART:
        return ("part", to, letter.id, letter.ordinal)
    return ("deliver", to, letter.id) if letter.kind <= ASK else ("answer", to, letter.id, _how(letter))


def _how(letter: Letter) -> str:
    if letter.kind == REPLY or letter.payload == FROM_HANDLER:
        return "from its handler"
    error = decode(letter.payload, Failure).error()
    return "may have run" if getattr(error, "may_have_run", False) else "has not run"


def _same(did: list[Effect], should: list[Effect]) -> bool:
    """Deliveries in the same order for each agent; for the rest the order does not matter."""
    if did == should:
        return True
    for effects in (did, should):
        effects.sort(key=lambda each: ("deliver", each[1]) if each[0] == "deliver" else tuple(map(str, each)))  # stable
    return did == should


def _short(what: Event | Action) -> str:
    """One line, without the payloads."""
    match what:
        case Posted(name, frame):
            letters = ", ".join(map(_letter, frame.letters))
            return f"{name} posts #{frame.number}: done {frame.acks}, sends [{letters}], notes {frame.notes}"
        case Deliver(to, letters):
            return f"{to} gets [{', '.join(map(_letter, letters))}]"
        case DeadLetter(number, to, _, type):
            return f"dead letter {number}: {type} to {to}, {what.reason}"
        case Blamed(name, letter, quarantined):
            return f"{name} died on {_letter(letter)}{', for the last time' if quarantined else ''}"
        case _:
            return repr(what)


def _letter(letter: Letter) -> str:
    text = f"{('tell', 'ask', 'reply', 'failure', 'part')[letter.kind]} {letter.id} {letter.type}"
    if letter.kind <= ASK:
        text += f" to {letter.to} at {letter.priority}"
    return (text + f" until {letter.deadline}" * bool(letter.deadline) + f" flags {letter.flags}" * bool(letter.flags)
            + f" cause {letter.cause}.{letter.ordinal}" * bool(letter.cause))  # fmt: skip


def simulate(seed: int, *, with_oracle: bool = True) -> World:
    """One node. Raises Broken or whatever the switchboard raises, with the last steps as a note."""
    world: World | None = None
    try:
        world = World(seed, with_oracle=with_oracle)
        world.run()
    except Exception as error:
        error.add_note(f"seed {seed}; the last steps:\n" + "\n".join(world.trace[-40:] if world else ()))
        raise
    return world


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many nodes")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--trace", action="store_true", help="print every step of a node that ends well, too")
    options = parser.parse_args()
    for seed in range(options.first, options.first + options.seeds):
        try:
            world = simulate(seed)
            simulate(seed, with_oracle=False)
        except Exception:  # noqa: BLE001 - whatever it was, the seed is red
            traceback.print_exc()
            print(f"\nseed {seed} is red; again: python -m tests.model.simulate_mail --first {seed} --seeds 1", file=sys.stderr)
            return 1
        if options.trace:
            print("\n".join(world.trace))
    print(f"{options.seeds} nodes, all as they should be")
    return 0


if __name__ == "__main__":
    sys.exit(main())
