"""What leaves an agent: one frame per loop turn with acknowledgements, letters and failures together.

With a durable backend a frame is committed, together with the state changes it stands for, before it leaves; frames that pile up
meanwhile share the next transaction. Until the supervisor confirms that it took a frame, its row stays: if one of its messages is
delivered again, the stored frame is sent and the message is not handled again.
"""

import asyncio
from collections import deque
from collections.abc import Iterable

from ..errors import StateError
from ..mailbox.codec import decode_frame, encode, encode_frame
from ..mailbox.framing import PREFIX
from ..mailbox.letter import AGAIN, ASK, FAILURE, TELL, Failed, Frame, Letter, UpNote
from ..mailbox.pipe import Pipe
from ..memory.base import Memory, StoredFrame
from ..messages import Failure
from .context import Delivery
from .state import Changes

FLUSH_BYTES = 16 * 2**20  # of payloads that wait for the loop to turn: so a frame stays below the limit of a pipe
OUTBOX_LETTERS = 256  # unsent letters at which a tell in a handler flushes; two such frames may be under way


class _Batch:
    """What the next frame will carry."""

    __slots__ = ("acks", "changes", "letters", "notes", "waiters")

    def __init__(self) -> None:
        self.acks: list[int] = []
        self.letters: list[Letter] = []
        self.notes: list[UpNote] = []
        self.changes: Changes = {}
        self.waiters: list[asyncio.Future[None]] = []  # of those who wait for it to be in custody


def _count(delivery: Delivery) -> None:
    """Number the tells of a handler that waits or runs again, so that custody can drop what it took before."""
    for letter in delivery.sends:
        if letter.kind == TELL:
            delivery.told += 1
            letter.cause, letter.ordinal = delivery.letter.id, delivery.told


class Sending:
    def __init__(self, pipe: Pipe, memory: Memory, run: str, first_number: int, stored: Iterable[StoredFrame]) -> None:
        self._pipe = pipe
        self._memory = memory
        self._run = run
        self._number = first_number  # of the next frame; unique over incarnations, as stored frames keep theirs
        self._loop = asyncio.get_running_loop()
        self._batch = _Batch()
        self._bytes = 0  # of payloads in it, and of what the open deliveries have sent
        self._is_due = False
        self._throttled: asyncio.Future[None] | None = None
        self.open: dict[int, Delivery] = {}  # deliveries whose handlers run
        self._stored = {message_id: frame for frame in stored for message_id in frame.message_ids}
        self._waiters: dict[int, list[asyncio.Future[None]]] = {}
        self._unconfirmed: dict[int, tuple[str, ...]] = {}
        self._ready: deque[tuple[Changes, Frame, list[asyncio.Future[None]]]] = deque()
        self._committer: asyncio.Task[None] | None = None
        self.failure: asyncio.Future[StateError] = self._loop.create_future()  # the backend cannot write

    # --- what the handlers produce

    def post(self, letter: Letter, delivery: Delivery | None) -> None:
        if delivery is not None and delivery.is_open:
            delivery.sends.append(letter)
        else:
            self._batch.letters.append(letter)
        self._bytes += len(letter.payload)
        if self._bytes > FLUSH_BYTES:
            self.flush()
        self.schedule()

    def finish(self, delivery: Delivery, changes: Changes, reply: Letter | None = None, failure: UpNote | None = None) -> None:
        """The handler is done: its sends, its state changes and the acknowledgement leave together."""
        batch = self._batch
        delivery.is_open = False
        del self.open[delivery.letter.id]
        if delivery.sends:
            if delivery.told or delivery.letter.flags & AGAIN:
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
            batch.acks.append(delivery.letter.id)
        if self._bytes > FLUSH_BYTES:
            self.flush()

    def skip(self, letter: Letter) -> None:
        """Acknowledge a letter whose deadline has passed, unhandled."""
        self._batch.acks.append(letter.id)

    def refuse(self, letter: Letter, failure: Failure) -> None:
        """Answer, or dead-letter, a letter without a handler having run."""
        if letter.kind == ASK:
            self._batch.letters.append(Letter(FAILURE, letter.id, "", "", "", encode(failure)))
            self._batch.acks.append(letter.id)
        else:
            self._batch.notes.append(Failed(letter.id, failure))
        self.schedule()

    def note(self, note: UpNote) -> None:
        """Control, in order with the letters posted before it."""
        self._batch.notes.append(note)
        self.schedule()

    @property
    def ack_count(self) -> int:
        return len(self._batch.acks)

    def schedule(self) -> None:
        """Flush when the loop turns."""
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._is_due = False
        self.flush()

    async def custody(self, delivery: Delivery | None) -> None:
        """In a handler, wait only when the outbox is full; elsewhere until what was posted is in custody."""
        if delivery is not None and delivery.is_open:
            if len(delivery.sends) >= OUTBOX_LETTERS:
                await self._throttle()
            return
        taken = self._loop.create_future()
        self._batch.waiters.append(taken)
        self.schedule()
        await taken

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
        batch = self._batch
        self._bytes = 0
        for delivery in self.open.values():
            if delivery.sends:
                _count(delivery)
                batch.letters += delivery.sends
                delivery.sends = []
        if not (batch.acks or batch.letters or batch.notes or batch.changes or batch.waiters):
            return
        self._batch = _Batch()
        frame = Frame(batch.acks, batch.letters, list(batch.notes))
        if self._memory.is_durable or batch.waiters:
            frame.number = self._number
            self._number += 1
        if not self._memory.is_durable:
            if batch.waiters:
                self._waiters[frame.number] = batch.waiters
            self._pipe.send(frame)
            return
        self._ready.append((batch.changes, frame, batch.waiters))
        if self._committer is None or self._committer.done():
            self._committer = asyncio.ensure_future(self._commit())

    async def _commit(self) -> None:
        while self._ready:
            changes, frame, waiters = self._ready.popleft()
            done = [*frame.acks, *(note.id for note in frame.notes if isinstance(note, Failed))]
            data = bytearray(PREFIX.size)
            encode_frame(frame, data, PREFIX.size)
            PREFIX.pack_into(data, 0, len(data) - PREFIX.size)
            if changes or done:
                ids = tuple(f"{self._run}.{number}" for number in done)
                try:
                    await self._memory.commit(changes, ids, bytes(data))
                except StateError as error:
                    if not self.failure.done():
                        self.failure.set_result(error)
                    return
                if ids:
                    self._unconfirmed[frame.number] = ids
            if waiters:
                self._waiters[frame.number] = waiters
            self._pipe.send_bytes(data)

    async def commit(self, changes: Changes) -> None:
        """Store changes now, after all that were made before them, without acknowledging anything. Raises StateError."""
        if not self._memory.is_durable:
            await self._memory.commit(changes, (), b"")
            return
        self._batch.changes.update(changes)
        self.flush()
        if self._committer is not None:
            await asyncio.shield(self._committer)  # whoever waits here may be cancelled, the commit may not
        if self.failure.done():
            raise self.failure.result()

    async def drain(self) -> None:
        """Send all there is, committed where that is due."""
        self.flush()
        if self._committer is not None:
            await asyncio.shield(self._committer)

    def is_stored(self, number: int) -> bool:
        """Whether the letter was handled by an earlier incarnation; if so its frame is sent again."""
        stored = self._stored.get(f"{self._run}.{number}") if self._stored else None
        if stored is None:
            return False
        for message_id in stored.message_ids:
            del self._stored[message_id]
        self._unconfirmed[decode_frame(stored.frame[PREFIX.size :]).number] = stored.message_ids
        self._pipe.send_bytes(stored.frame)
        return True

    def confirmed(self, numbers: Iterable[int]) -> None:
        """The supervisor took these frames."""
        for number in numbers:
            for taken in self._waiters.pop(number, ()):
                if not taken.done():
                    taken.set_result(None)
            ids = self._unconfirmed.pop(number, None)
            if ids is not None:
                self._memory.confirmed(ids)
