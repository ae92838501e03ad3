"""Moves what the switchboard decides: letters and notes between pipes and the supervisor's own process."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from ..bus.counters import Often
from ..clock import now_ns
from ..errors import AgentDown
from ..mailbox.codec import encode
from ..mailbox.dead_letters import Action, DeadLetter
from ..mailbox.durable import Store
from ..mailbox.journal import Entry, Journal, encode_letter
from ..mailbox.letter import FAILURE, HOST, REPLY, Command, Frame, Letter, Note, UpNote
from ..mailbox.outbox import Outbox
from ..mailbox.pipe import Pipe
from ..mailbox.switchboard import Switchboard
from ..mailbox.traffic import Blamed, Confirm, Deliver, Event, Flood, Posted, Stored, Tell, Unanswered
from ..messages import Failure
from ..spec import MailboxSpec

log = logging.getLogger("actorsys.supervisor")

# A frame takes no more when it has so many letters, and none that is so large: it stays well below what a pipe takes.
FRAME_LETTERS, LARGE_BYTES = 256, 2**15
TURN_LETTERS = 128  # that the host sends before its loop turns: so it hears what agents say, and they work while it sends

Commands = Callable[[str, dict[str, Any], str], Awaitable[Any]]


class HostOutbox(Outbox):
    """How the supervisor's own process talks to its agents: letters go straight into custody."""

    def __init__(self, mail: "Mail", commands: Commands) -> None:
        super().__init__(HOST)
        self._mail = mail
        self._commands = commands
        self._next_frame = 1
        self._unconfirmed: dict[int, asyncio.Future[None]] = {}

    def post(self, letter: Letter) -> None:
        self._mail.send(letter)

    def send(self, letter: Letter) -> Awaitable[None] | None:
        """In memory a letter is in custody at once; on disk when it is written. Whoever tells many lets the loop turn in between."""
        mail = self._mail
        if mail.journal is None or not mail.switchboard.is_durable(letter.to):
            self.post(letter)
            return asyncio.sleep(0) if mail.sent >= TURN_LETTERS else None
        number = self._next_frame
        self._next_frame += 1
        written = self._unconfirmed[number] = asyncio.get_running_loop().create_future()
        self._mail.handle_soon(Posted(HOST, Frame([], [letter], [], number)))
        return written

    def note(self, note: UpNote) -> None:
        self._mail.handle_soon(Posted(HOST, Frame(notes=[note])))

    def confirmed(self, number: int) -> None:
        written = self._unconfirmed.pop(number, None)
        if written is not None and not written.done():
            written.set_result(None)

    async def command(self, do: str, arguments: dict[str, Any]) -> Any:
        return await self._commands(do, arguments, HOST)

    async def is_here(self, to: str) -> bool:
        return self._mail.switchboard.knows(to)


class Mail:
    """The driver of the switchboard. What it has for one pipe leaves as one frame per batch of events."""

    def __init__(self, commands: Commands, max_bytes: int, journal_path: Path) -> None:
        self.switchboard = Switchboard(max_bytes)
        self.outbox = HostOutbox(self, commands)
        self.pipes: dict[str, Pipe] = {}
        self.journal: Journal | None = None
        self._journal_path = journal_path
        self.on_flood: Callable[[str, str], None] = lambda name, address: None  # the driver's part of it
        self.on_unanswered: Callable[[Unanswered], None] = lambda action: None
        self._commands = commands
        self._waiting: dict[str, Frame] = {}
        self.sent = 0  # letters of the host since frames came in, or since the loop turned for the second of them
        self._is_corked = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._each_second = Often(1.0)

    def handle(self, *batch: Event) -> list[Blamed]:
        """Take events, send what they lead to; the letters that agents were found to die on."""
        now, actions = now_ns(), []
        for event in batch:
            actions += self.switchboard.handle(event, now)
        self._perform(actions)
        return [action for action in actions if type(action) is Blamed]

    def handle_soon(self, event: Event) -> None:
        """Take an event of the host: sent at once if it is the first since frames came in, with the others of this turn if not."""
        if self.sent:
            self._cork()
        self.sent += 1
        self.handle(event)

    def send(self, letter: Letter) -> None:
        """Take a letter of the host into custody; it goes out as with `handle_soon`. Raises UnknownAgent."""
        now = now_ns()
        actions: list[Action] = []
        self.switchboard.take_letter(letter, now, actions)
        if self.sent:
            self._cork()
        else:
            self.switchboard.settle(now, actions)
        self.sent += 1
        self._perform(actions)

    def posted(self, name: str, frames: list[Frame], now: int) -> None:
        """Frames came in from an agent."""
        board = self.switchboard
        actions: list[Action] = []
        self.sent = 0
        for frame in frames:
            for note in frame.notes:
                if type(note) is Command:
                    task = asyncio.ensure_future(self._obey(name, note))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
            board.take(name, frame, now, actions)
        board.settle(now, actions)
        self._perform(actions)

    def _perform(self, actions: list[Action]) -> None:
        replied = self.outbox.replied
        for action in actions:
            if isinstance(action, Deliver):  # the usual case first, and no `match`, which looks at the attributes of each
                if action.to != HOST:
                    self._put(action.to, action.letters)
                    continue
                for letter in action.letters:
                    replied(letter)
            elif isinstance(action, Confirm | Tell):
                self._pass_on(action)
            elif isinstance(action, Unanswered):
                self.on_unanswered(action)
            elif isinstance(action, Flood):
                self.on_flood(action.name, action.to)
            elif isinstance(action, Store):
                self._store(action)
            elif isinstance(action, DeadLetter):
                self._report(action)
        if not self._is_corked and self._waiting:
            self._flush()

    def _put(self, to: str, letters: list[Letter]) -> None:
        frame = self._waiting.get(to)
        if frame is not None and (len(frame.letters) >= FRAME_LETTERS or len(letters[0].payload) > LARGE_BYTES):
            self._flush()
            frame = None
        if frame is not None:
            frame.letters += letters
        else:
            self._waiting[to] = Frame([], letters, [])

    def _pass_on(self, action: Confirm | Tell) -> None:
        is_host = action.to == HOST
        if isinstance(action, Confirm):
            if is_host:
                self.outbox.confirmed(action.number)
            else:
                self._frame(action.to).acks.append(action.number)
        elif is_host:
            self.outbox.noted(action.note)  # type: ignore[arg-type]  # the host handles no letters that could be cancelled
        else:
            self._frame(action.to).notes.append(action.note)

    def note(self, to: str, note: Note) -> None:
        """Send control, at once."""
        pipe = self.pipes.get(to)
        if pipe is not None:
            pipe.send(Frame(notes=[note]))  # type: ignore[list-item]

    def open_journal(self) -> Journal:
        """The journal of disk mailboxes, opened when the first of them is. Raises StateError."""
        if self.journal is None:
            loop = asyncio.get_running_loop()
            written = lambda number: loop.call_soon_threadsafe(self.handle, Stored(number))  # noqa: E731 - called in its thread
            self.journal = Journal(self._journal_path, written)
            self.switchboard.begin_ids(self.journal.first_id)
        return self.journal

    def restored(self, name: str, spec: MailboxSpec) -> tuple[tuple[Letter, ...], int]:
        """What is on disk for a mailbox: its letters, and the number of the last frame taken from its agent."""
        if spec.durability != "disk":
            return (), 0
        journal = self.open_journal()
        letters = tuple(journal.load(name))
        if letters:
            log.info("%s: %d messages from before are in its mailbox", name, len(letters))
        return letters, journal.last_frame(name)

    def _store(self, store: Store) -> None:
        assert self.journal is not None
        added = [(letter.id, name, encode_letter(letter)) for name, letter in store.added]
        self.journal.write(Entry(store.number, added, store.removed, store.charged, store.taken))

    async def close(self) -> None:
        self.outbox.give_up(AgentDown("the supervisor has stopped; no answer will come.", reason="shutdown", may_have_run=True))
        if self.journal is not None:
            await asyncio.to_thread(self.journal.close)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _obey(self, name: str, command: Command) -> None:
        try:
            result = await self._commands(command.do, command.arguments, name)
            reply = Letter(REPLY, command.id, name, "", "", encode(result))
        except Exception as error:  # noqa: BLE001 - whatever goes wrong belongs to the agent that asked
            reply = Letter(FAILURE, command.id, name, "", "", encode(Failure.of(error, with_traceback=False)))
        if name in self.pipes and command.id:  # 0: nobody waits for an answer
            self.pipes[name].send(Frame(letters=[reply]))

    def _report(self, dead: DeadLetter) -> None:
        """At most one line a second for dead letters of one type to one agent, with the number of those left out."""
        held = self._each_second.hold(f"{dead.type} {dead.to}")
        if held is not None:
            what, more = dead.type.rpartition(":")[2] or "message", f" ({held} more like this)" if held else ""
            log.warning("dead letter: %s from %s to %s: %s%s", what, shown_sender(dead.sender), dead.to, dead.reason, more)

    def _frame(self, to: str) -> Frame:
        frame = self._waiting.get(to)
        if frame is None:
            frame = self._waiting[to] = Frame([], [], [])
        return frame

    def _cork(self) -> None:
        if not self._is_corked:
            self._is_corked = True
            asyncio.get_running_loop().call_soon(self._uncork)

    def _uncork(self) -> None:
        self._is_corked, self.sent = False, 0
        actions: list[Action] = []
        self.switchboard.settle(now_ns(), actions)
        self._perform(actions)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for to, frame in waiting.items():
            pipe = self.pipes.get(to)
            if pipe is not None:  # an agent that is gone gets its letters again from custody
                try:
                    pipe.send(frame)
                except Exception:  # whatever one frame holds must not cost the others theirs
                    log.exception("a frame for %s cannot be sent", to)


def shown_sender(sender: str) -> str:
    """A sender's name for people."""
    return "the supervisor's process" if sender in (HOST, "") else sender
