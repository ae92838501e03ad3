"""Mail on disk: what disk mailboxes have accepted, in one SQLite file per node, written by one thread.

The thread takes all that has piled up and commits it as one transaction (WAL, synchronous=FULL), so a slow disk makes groups larger,
not asks of other agents slower. A letter is routed only after the commit that holds it.
"""

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import msgspec

from ..clock import wall
from ..errors import StateError
from .letter import Letter

log = logging.getLogger("actorsys.supervisor")

SCHEMA = """
create table if not exists letters (id integer primary key, agent text not null, letter blob not null, deliveries integer not null);
create table if not exists frames (agent text primary key, number integer not null) without rowid;
create table if not exists meta (key text primary key, value text not null) without rowid;
"""
EPOCH_BITS = 40  # ids of one life of the supervisor: 10^12 letters
RETRY_SECONDS = 1.0  # between attempts to write to a disk that refuses

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Letter).decode


class Entry(msgspec.Struct):
    """What one batch of the switchboard changes: letters accepted (id, agent, encoded), done with, and charged with a death; frames taken."""

    number: int
    added: list[tuple[int, str, bytes]]
    removed: list[int]
    charged: list[tuple[int, int]]
    taken: list[tuple[str, int]]


def encode_letter(letter: Letter) -> bytes:
    return _encode(letter)


class Journal:
    """Open it, `load` what is left from the last life, then `write` entries; `on_written` is called, in the thread, with the last number.

    Raises StateError when the file cannot be opened; one that is corrupt is set aside, loudly, and a new one is begun.
    """

    def __init__(self, path: Path, on_written: Callable[[int], object]) -> None:
        self._path = path
        self._on_written = on_written
        self._entries: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._is_closing = False
        self._db = self._open()
        self.id, self.epoch = self._begin_life()
        self._thread = threading.Thread(target=self._run, name="actorsys journal", daemon=True)
        self._thread.start()

    @property
    def run(self) -> str:
        """What message ids begin with: the same in all lives, so that an agent knows a message again."""
        return f"mail-{self.id}"

    @property
    def first_id(self) -> int:
        """Where the ids of this life begin: no letter of an earlier one has an id as high."""
        return self.epoch << EPOCH_BITS | 1

    def load(self, agent: str) -> list[Letter]:
        """The letters of an agent that were never acknowledged, in the order of acceptance. Call it before writing for that agent."""
        with closing(sqlite3.connect(self._path)) as db:
            rows = db.execute("select letter, deliveries from letters where agent = ? order by id", (agent,)).fetchall()
        letters = []
        for data, deliveries in rows:
            letter = _decode(data)
            letter.deliveries = deliveries
            letters.append(letter)
        return letters

    def last_frame(self, agent: str) -> int:
        """The number of the last frame that was taken from an agent."""
        with closing(sqlite3.connect(self._path)) as db:
            row = db.execute("select number from frames where agent = ?", (agent,)).fetchone()
        return row[0] if row else 0

    def agents(self) -> set[str]:
        """All agents that have letters."""
        with closing(sqlite3.connect(self._path)) as db:
            return {agent for (agent,) in db.execute("select distinct agent from letters")}

    def write(self, entry: Entry) -> None:
        self._entries.put(entry)

    def close(self) -> None:
        """Write what is queued, if it can be written, then close."""
        self._is_closing = True
        self._entries.put(None)
        self._thread.join()
        self._db.close()

    def _open(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                return self._connect()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                aside = self._path.with_name(f"{self._path.name}.corrupt-{wall():%Y%m%dT%H%M%S}")
                for suffix in ("", "-wal", "-shm"):
                    file = self._path.with_name(self._path.name + suffix)
                    if file.exists():
                        file.rename(aside.with_name(aside.name + suffix))
                log.error(
                    "the mail journal is corrupt (%s): it was set aside as %s, and mailboxes on disk start empty", error, aside
                )
                return self._connect()
        except (OSError, sqlite3.Error) as error:
            raise StateError(f"cannot open the mail journal {self._path}: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            self._path.chmod(0o600)
            db.execute("pragma journal_mode = wal")
            db.execute("pragma synchronous = full")
            found = db.execute("pragma quick_check").fetchone()
            if found != ("ok",):
                raise sqlite3.DatabaseError(str(found[0]))
            db.executescript(SCHEMA)
        except BaseException:
            db.close()
            raise
        return db

    def _begin_life(self) -> tuple[str, int]:
        known = dict(self._db.execute("select key, value from meta"))
        journal_id, epoch = known.get("id") or uuid4().hex[:12], int(known.get("epoch", 0)) + 1
        self._db.execute("begin immediate")
        self._db.executemany("insert or replace into meta values (?, ?)", [("id", journal_id), ("epoch", str(epoch))])
        self._db.execute("commit")
        return journal_id, epoch

    def _run(self) -> None:
        is_last = False
        while not is_last:
            entries = [self._entries.get()]
            while not self._entries.empty():
                entries.append(self._entries.get())
            is_last = None in entries
            batch = [entry for entry in entries if entry is not None]
            if batch:
                self._commit(batch)
                self._on_written(batch[-1].number)

    def _commit(self, batch: list[Entry]) -> None:
        """Until it is written; letters wait meanwhile, and so do their senders."""
        told = False
        while True:
            try:
                self._write(batch)
                break
            except (sqlite3.Error, OverflowError) as error:
                if self._is_closing:
                    count = sum(len(entry.added) for entry in batch)
                    log.error(
                        "the mail journal cannot be written (%s): %d messages that wait for it are lost, unaccepted", error, count
                    )
                    return
                if not told:
                    log.error("the mail journal cannot be written (%s); mail for mailboxes on disk waits until it can", error)
                    told = True
                time.sleep(RETRY_SECONDS)
        if told:
            log.warning("the mail journal is written again")

    def _write(self, batch: Iterable[Entry]) -> None:
        db = self._db
        removed = {number for entry in batch for number in entry.removed}
        added = [(*row, 0) for entry in batch for row in entry.added if row[0] not in removed]
        db.execute("begin immediate")
        try:
            db.executemany("insert or replace into letters values (?, ?, ?, ?)", added)
            db.executemany("delete from letters where id = ?", [(number,) for number in removed])
            db.executemany(
                "update letters set deliveries = ? where id = ?",
                [(count, number) for entry in batch for number, count in entry.charged],
            )
            db.executemany("insert or replace into frames values (?, ?)", [row for entry in batch for row in entry.taken])
            db.execute("commit")
        except BaseException:
            db.execute("rollback")
            raise
