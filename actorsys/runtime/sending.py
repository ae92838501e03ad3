"""What leaves an agent: one frame per loop turn, and one for its first ask, with acknowledgements, letters and failures together.

With a durable backend a frame is committed, together with the state changes it stands for, before it leaves; frames that pile up
meanwhile become one, in one transaction. Until the supervisor confirms that it took a frame, its row stays: if one of its messages is
delivered again, the message is not handled again; the stored frame goes first. A frame that changes no state needs no row: if it never
leaves, its messages are handled again, and nobody can tell.

While the backend cannot write (disk full, server away) frames are held back in their order, and the messages they acknowledge stay in
custody. What may pass them is the answer of a handler that changed nothing, sent nothing, and saw nothing that is not stored yet.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Iterable

from msgspec import Struct

from ..clock import wall_ns
from ..errors import StateError
from ..mailbox.codec import decode_frame, encode, encode_frame
from ..mailbox.framing import PREFIX
from ..mailbox.letter import AGAIN, ASK, FAILURE, TELL, DownNote, Failed, Frame, Letter, UpNote
from ..mailbox.pipe import Pipe
from ..memory.base import PASSING, Memory, StoredFrame
from ..messages import Failure
from ..spec import Assignment
from .context import Delivery
from .state import Changes

FLUSH_BYTES = 16 * 2**20  # of payloads that wait for the loop to turn: so a frame stays below the limit of a pipe
OUTBOX_LETTERS = 128  # unsent letters at which a tell in a handler flushes; two such frames may be under way
RETRY_FIRST, RETRY_MAX = 0.1, 2.0  # seconds until a commit that failed is tried again; doubles


class _Batch(Struct):
    """What the next frame will carry; a Struct, as there is one for each."""

    acks: list[int] = []
    letters: list[Letter] = []
    notes: list[UpNote | DownNote] = []
    changes: Changes = {}
    waiters: list["asyncio.Future[None]"] = []  # of those who wait for it to be in custody


class _Ready:
    """A frame that waits to be committed, and who waits for what."""

    __slots__ = ("bytes", "changes", "frame", "stored", "waiters")

    def __init__(self, batch: _Batch, frame: Frame, size: int) -> None:
        self.changes = batch.changes
        self.frame = frame
        self.waiters = batch.waiters
        self.stored: list[asyncio.Future[None]] = []  # of those who wait for the commit
        self.bytes = size

    def can_take(self, other: "_Ready", limit: int) -> bool:
        """Notes keep their place among the letters, so only frames without any are joined."""
        return self.bytes + other.bytes <= limit and not any(
            not isinstance(note, Failed) for note in (*self.frame.notes, *other.frame.notes)
        )

    def take(self, other: "_Ready") -> None:
        self.changes = {**self.changes, **other.changes}
        frame, more = self.frame, other.frame
        number = frame.number or more.number
        self.frame = Frame(frame.acks + more.acks, frame.letters + more.letters, frame.notes + more.notes, number)
        self.waiters = self.waiters + other.waiters
        self.stored = self.stored + other.stored
        self.bytes += other.bytes


def _count(delivery: Delivery) -> None:
    """Number the tells of a handler that waits or runs again, so that custody can drop what it took before."""
    for letter in delivery.sends:
        if letter.kind == TELL:
            delivery.told += 1
            letter.cause, letter.ordinal = delivery.letter.id, delivery.told


def _wrapped(error: Exception) -> StateError:
    made = StateError(f"the backend failed to write the state: {type(error).__name__}: {error}")
    made.__cause__ = error
    return made


class Sending:
    def __init__(self, pipe: Pipe, memory: Memory, assignment: Assignment, stored: Iterable[StoredFrame]) -> None:
        self._pipe = pipe
        self._memory = memory
        self._flush_bytes = min(FLUSH_BYTES, memory.total_bytes // 2)  # where a backend stores little, its frames are small too
        self._run = assignment.run
        self._name = assignment.shown
        self._number = wall_ns()  # of the next frame; higher than in all earlier lives, as stored frames keep theirs
        self._loop = asyncio.get_running_loop()
        self._batch = _Batch()
        self._bytes = 0  # of payloads in it, and of what the open deliveries have sent
        self.ended = 0  # letters that are done with since the last flush
        self._is_due = False  # whether the next turn of the loop flushes
        self.has_asked = False  # since frames came in or the loop turned
        self._throttled: asyncio.Future[None] | None = None
        self.open: dict[int, Delivery] = {}  # deliveries whose handlers run
        numbered = sorted((decode_frame(frame.frame[PREFIX.size :]).number, frame) for frame in stored)
        self._again = [(number, frame) for number, frame in numbered if number > assignment.last_frame]
        self.handled = {message_id for _, frame in self._again for message_id in frame.message_ids}
        for number, frame in numbered:
            if number <= assignment.last_frame:
                memory.confirmed(frame.message_ids)
        self._waiters: dict[int, list[asyncio.Future[None]]] = {}
        self._unconfirmed: dict[int, tuple[str, ...]] = {}
        self._ready: deque[_Ready] = deque()
        self._committer: asyncio.Task[None] | None = None
        self._aside = _Batch()  # what may pass the frames that are held back
        self._held: set[str] | None = None  # while the backend cannot write: keys changed by what waits for it
        self._retry = asyncio.Event()  # set: do not wait for the next try
        # Whether a commit is tried again for as long as it takes. Not at the start, nor at the end: there it fails.
        self.is_patient = False
        self.failure: asyncio.Future[StateError] = self._loop.create_future()  # the backend cannot write, and never will

    # --- what the handlers produce

    def post(self, letter: Letter, delivery: Delivery | None) -> None:
        if delivery is not None and delivery.is_open:
            delivery.sends.append(letter)
        else:
            self._batch.letters.append(letter)
        self._bytes += len(letter.payload)
        if self._bytes > self._flush_bytes:
            self.flush()
        if letter.kind == ASK and not self.has_asked:  # who asks is about to wait, so the first ask leaves at once
            self.has_asked = True
            self.flush()
        elif not self._is_due:
            self.schedule()

    def finish(self, delivery: Delivery, changes: Changes, reply: Letter | None = None, failure: UpNote | None = None) -> None:
        """The handler is done: its sends, its state changes and the acknowledgement leave together."""
        batch = self._batch
        if self._held is not None and not (
            changes or delivery.sends or delivery.told or delivery.flow or delivery.state.saw(self._held)
        ):
            batch = self._aside
        letter = delivery.letter
        delivery.is_open = False
        del self.open[letter.id]
        if delivery.sends:
            if delivery.told or letter.flags & AGAIN:
                _count(delivery)
            batch.letters += delivery.sends
        if reply is not None:
            batch.letters.append(reply)
            self._bytes += len(reply.payload)
        if changes:
            batch.changes.update(changes)
        if failure is not None:
            batch.notes.append(failure)
        else:
            batch.acks.append(letter.id)
        self.ended += 1
        if self._bytes > self._flush_bytes:
            self.flush()

    def skip(self, letter: Letter) -> None:
        """Acknowledge a letter whose deadline has passed, unhandled."""
        self._unhandled.acks.append(letter.id)
        self.ended += 1

    def refuse(self, letter: Letter, failure: Failure) -> None:
        """Answer, or dead-letter, a letter without a handler having run."""
        if letter.kind == ASK:
            self._unhandled.letters.append(Letter(FAILURE, letter.id, "", "", "", encode(failure)))
            self._unhandled.acks.append(letter.id)
        else:
            self._unhandled.notes.append(Failed(letter.id, failure))
        self.schedule()

    @property
    def _unhandled(self) -> _Batch:
        """Where it goes that a letter is done with although no handler has run."""
        return self._batch if self._held is None else self._aside

    def note(self, note: UpNote) -> None:
        """Control, in order with the letters posted before it."""
        self._batch.notes.append(note)
        self.schedule()

    def schedule(self) -> None:
        """Flush when the loop turns."""
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._is_due = self.has_asked = False
        self.flush()

    def send(self, letter: Letter, delivery: Delivery | None) -> Awaitable[None] | None:
        """Post a tell. In a handler, wait only when the outbox is full; elsewhere until it is in custody."""
        self.post(letter, delivery)
        if delivery is not None and delivery.is_open:
            return self._throttle() if len(delivery.sends) >= OUTBOX_LETTERS else None
        taken = self._loop.create_future()
        self._batch.waiters.append(taken)
        self.schedule()
        return taken

    async def _throttle(self) -> None:
        """Flush, and wait until the frame before this one was taken: so the loop turns, and we hear of full mailboxes in time."""
        before, self._throttled = self._throttled, self._loop.create_future()
        self._batch.waiters.append(self._throttled)
        self.flush()
        if before is not None:
            await before

    # --- frames

    def flush(self) -> None:
        """Send what there is now, or hand it to the backend to be committed and sent."""
        batch, size = self._batch, self._bytes
        self._bytes = self.ended = 0
        for delivery in self.open.values():
            if delivery.sends:
                _count(delivery)
                batch.letters += delivery.sends
                delivery.sends = []
        if self._held is not None:
            self._pass_by()
        if not (batch.acks or batch.letters or batch.notes or batch.changes or batch.waiters):
            return
        self._batch = _Batch()
        frame = Frame(batch.acks, batch.letters, batch.notes)
        if batch.waiters or (batch.changes and self._memory.is_durable):
            frame.number = self._number
            self._number += 1
        if not self._memory.is_durable or not (batch.changes or self._is_committing):
            if batch.waiters:
                self._waiters[frame.number] = batch.waiters
            self._pipe.send(frame)
            return
        self._ready.append(_Ready(batch, frame, size))
        if self._held is not None:
            self._held.update(batch.changes)
        if not self._is_committing:
            self._committer = asyncio.ensure_future(self._commit())

    @property
    def _is_committing(self) -> bool:
        return self._committer is not None and not self._committer.done()

    def _pass_by(self) -> None:
        """Send what need not wait for the backend."""
        batch = self._aside
        if batch.acks or batch.letters or batch.notes:
            self._aside = _Batch()
            self._pipe.send(Frame(batch.acks, batch.letters, batch.notes))

    async def _commit(self) -> None:
        wait = RETRY_FIRST
        while self._ready and not self.failure.done():
            ready = self._ready.popleft()
            while self._ready and ready.can_take(self._ready[0], self._flush_bytes):
                ready.take(self._ready.popleft())
            frame = ready.frame
            data = bytearray(PREFIX.size)
            encode_frame(frame, data, PREFIX.size)
            PREFIX.pack_into(data, 0, len(data) - PREFIX.size)
            if ready.changes:
                done = [*frame.acks, *(note.id for note in frame.notes if isinstance(note, Failed))]
                ids = tuple(f"{self._run}.{number}" for number in done)
                if (
                    ids
                ):  # once its message counts as handled, only this frame is sent again: those before it must be with the kernel
                    await self._pipe.wait_room(0)
                error = await self._store(ready.changes, ids, bytes(data))
                if error is not None:
                    self._ready.appendleft(ready)
                    if error.reason not in PASSING or not self.is_patient:
                        self._give_up(error)
                        return
                    self._hold(error)
                    await self._wait_retry(wait)
                    wait = min(2 * wait, RETRY_MAX)
                    continue
                wait = RETRY_FIRST
                self._release()
                if ids:
                    self._unconfirmed[frame.number] = ids
            for stored in ready.stored:
                if not stored.done():
                    stored.set_result(None)
            if ready.waiters:
                self._waiters[frame.number] = ready.waiters
            if ready.waiters or frame.acks or frame.letters or frame.notes:
                self._pipe.send_bytes(data)

    async def _store(self, changes: Changes, ids: tuple[str, ...], data: bytes) -> StateError | None:
        try:
            await self._memory.commit(changes, ids, data)
        except StateError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a backend may be the user's own code
            return _wrapped(error)
        return None

    def _give_up(self, error: StateError) -> None:
        """Nothing more will be stored by this process: what waits for it stays in custody."""
        if not self.failure.done():
            self.failure.set_result(error)
        for ready in self._ready:
            for stored in ready.stored:
                if not stored.done():
                    stored.set_exception(error)
        if count := sum(len(ready.frame.acks) for ready in self._ready):
            text = "%s; %d messages whose changes are not stored stay in the mailbox"
            logging.getLogger(self._name).error(text, error, count)

    def _hold(self, error: StateError) -> None:
        if self._held is None:
            text = "%s; messages that change the state are held back until it can be written, others are answered"
            logging.getLogger(self._name).error(text, error)
            self._held = set()
        for ready in self._ready:
            self._held.update(ready.changes)

    @property
    def is_held(self) -> bool:
        """Whether the backend cannot write at the moment."""
        return self._held is not None

    def hurry(self) -> None:
        """The agent ends: one more try for what waits to be stored, now."""
        self.is_patient = False
        self._retry.set()

    def _release(self) -> None:
        """A commit has worked: what waits goes its usual way again."""
        if self._held is not None:
            self._pass_by()
            self._held = None
            logging.getLogger(self._name).warning("the state can be written again; what was held back is on its way")

    async def _wait_retry(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._retry.wait()
        except TimeoutError:
            pass

    async def commit(self, changes: Changes) -> None:
        """Store changes now, after all that were made before them, without acknowledging anything.

        While the backend cannot write it waits; before the agent is ready and when it ends, it raises StateError instead.
        """
        if not self._memory.is_durable:
            await self._memory.commit(changes, (), b"")
            return
        if self.failure.done():
            raise self.failure.result()
        self._batch.changes.update(changes)
        self.flush()
        if self._ready:
            stored = self._loop.create_future()
            self._ready[-1].stored.append(stored)
            await stored
        elif self._is_committing and self._committer is not None:
            await asyncio.shield(self._committer)  # whoever waits here may be cancelled, the commit may not

    async def drain(self) -> None:
        """Send all there is, committed where that is due, if the backend can write now."""
        self.hurry()
        self.flush()
        if self._committer is not None:
            await asyncio.shield(self._committer)

    def send_again(self) -> None:
        """Send, in their order, the frames that an earlier life committed and custody did not take; before the first letter comes."""
        for number, frame in self._again:
            self._unconfirmed[number] = frame.message_ids
            self._pipe.send_bytes(frame.frame)
        self._again.clear()

    def is_handled(self, letter_id: int) -> bool:
        """Whether an earlier life handled the letter; its frame, which acknowledges it, is on its way."""
        return f"{self._run}.{letter_id}" in self.handled

    def confirmed(self, numbers: Iterable[int]) -> None:
        """The supervisor took these frames."""
        for number in numbers:
            for taken in self._waiters.pop(number, ()):
                if not taken.done():
                    taken.set_result(None)
            ids = self._unconfirmed.pop(number, None)
            if ids is not None:
                self._memory.confirmed(ids)
