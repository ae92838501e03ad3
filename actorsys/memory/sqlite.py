"""State in one SQLite file per agent: WAL, synchronous=FULL, so that what was committed survives SIGKILL and power loss.

Calls run in the agent's own loop, not in a thread: a commit takes 0.1 to 1 ms, a hop to a thread and back costs as much, and only this
agent waits.
"""

import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from typing import Any

import msgspec

from ..errors import StateError
from ..mailbox.codec import decode
from .aside import refuse_aside, set_aside
from .base import MIB, MemoryContext, Restored, StoredFrame, encoded

SCHEMA = """
create table state (key text primary key, value blob not null) without rowid;
create table frames (first text primary key, message_ids text not null, frame blob not null) without rowid;
create table meta (key text primary key, value text not null) without rowid;
"""
BUSY_MS = 5000  # a reader from outside, such as a backup, may hold the file for a moment
_ids = msgspec.json.Decoder(tuple[str, ...]).decode
REASONS = {
    sqlite3.SQLITE_FULL: "full",
    # What a full disk looks like where the shared index of the WAL cannot grow.
    sqlite3.SQLITE_IOERR_SHMSIZE: "full",
    sqlite3.SQLITE_BUSY: "busy",
    sqlite3.SQLITE_CORRUPT: "corrupt",
    sqlite3.SQLITE_NOTADB: "corrupt",
}


class Sqlite:
    is_durable = True
    value_bytes = 64 * MIB
    total_bytes = 1024 * MIB

    def __init__(self, context: MemoryContext) -> None:
        self._path = context.folder / f"{context.token}.sqlite"
        self._confirmed: list[str] = []
        self._file: sqlite3.Connection | None = None

    @property
    def _db(self) -> sqlite3.Connection:
        if self._file is None:
            raise StateError(f"{self._path.name} is not open")
        return self._file

    async def open(self, run: str) -> Restored:
        path = self._path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            refuse_aside(path)
            wal = path.with_name(path.name + "-wal")
            is_unclean = wal.exists() and wal.stat().st_size > 0  # whoever closes the file last removes it
            try:
                if not path.exists() and is_unclean:
                    raise sqlite3.DatabaseError(f"{wal.name} is there without it")
                if not path.exists():
                    self._create()
                return self._read(run, is_unclean=is_unclean)
            except sqlite3.DatabaseError as error:
                if _reason(error) != "corrupt":
                    raise
                self._close()
                path.touch(mode=0o600)  # it may be gone; that something was set aside must be seen
                raise set_aside(path, error, ("-wal", "-shm")) from error
        except (OSError, sqlite3.Error) as error:
            raise StateError(f"cannot open the state in {path}: {error}", reason=_reason(error)) from error

    def _create(self) -> None:
        """Make the file under another name first: an empty one under this name was emptied by somebody else."""
        new = self._path.with_name(self._path.name + ".new")
        for left in (new, new.with_name(new.name + "-journal")):
            left.unlink(missing_ok=True)
        new.touch(mode=0o600)
        with closing(sqlite3.connect(new, isolation_level=None)) as db:
            db.executescript(f"begin; {SCHEMA} commit;")
        new.rename(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _read(self, run: str, *, is_unclean: bool) -> Restored:
        if self._path.stat().st_size == 0:
            raise sqlite3.DatabaseError("the file is empty")
        self._file = db = sqlite3.connect(self._path, isolation_level=None, timeout=BUSY_MS / 1000)
        self._path.chmod(0o600)
        db.execute("pragma journal_mode = wal")
        db.execute("pragma synchronous = full")
        if is_unclean:
            (verdict,) = db.execute("pragma quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
        known = db.execute("select value from meta where key = 'run'").fetchone()
        if known != (run,):
            db.execute("begin immediate")
            db.execute("delete from frames")
            db.execute("insert or replace into meta values ('run', ?)", (run,))
            db.execute("commit")
        values = dict(db.execute("select key, value from state"))
        rows = list(db.execute("select message_ids, frame from frames"))
        try:
            frames = tuple(StoredFrame(_ids(ids), frame) for ids, frame in rows)
        except (msgspec.MsgspecError, TypeError) as error:
            raise sqlite3.DatabaseError(f"a row of frames: {error}") from error
        return Restored(values, frames)

    async def peek(self) -> dict[str, bytes]:
        try:
            refuse_aside(self._path)
            if not self._path.exists():
                return {}
            with closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True, timeout=BUSY_MS / 1000)) as db:
                return dict(db.execute("select key, value from state"))
        except (OSError, sqlite3.Error) as error:
            raise StateError(f"cannot read the state in {self._path}: {error}", reason=_reason(error)) from error

    async def commit(self, changes: Mapping[str, bytes | None], message_ids: Sequence[str], frame: bytes) -> None:
        db = self._db
        try:
            db.execute("begin immediate")
            try:
                if self._confirmed:
                    db.executemany("delete from frames where first = ?", [(first,) for first in self._confirmed])
                for key, value in changes.items():
                    if value is None:
                        db.execute("delete from state where key = ?", (key,))
                    else:
                        db.execute("insert or replace into state values (?, ?)", (key, value))
                if message_ids:
                    ids = msgspec.json.encode(message_ids).decode()
                    db.execute("insert or replace into frames values (?, ?, ?)", (message_ids[0], ids, frame))
                db.execute("commit")
            except BaseException:
                with suppress(sqlite3.Error):  # some errors have rolled back already
                    db.execute("rollback")
                raise
        except sqlite3.Error as error:
            raise StateError(f"cannot write the state to {self._path}: {error}", reason=_reason(error)) from error
        self._confirmed.clear()

    def confirmed(self, message_ids: Sequence[str]) -> None:
        self._confirmed.append(message_ids[0])  # deleted by the next commit: a row too many costs nothing, a transaction does

    async def store(self, key: str, value: Any) -> None:
        await self.commit({key: encoded(key, value, self.value_bytes)}, (), b"")

    async def retrieve(self, key: str) -> Any:
        row = self._db.execute("select value from state where key = ?", (key,)).fetchone()
        return None if row is None else decode(row[0])

    async def delete(self, key: str) -> None:
        await self.commit({key: None}, (), b"")

    async def list_keys(self, prefix: str = "") -> list[str]:
        rows = self._db.execute("select key from state where substr(key, 1, ?) = ? order by key", (len(prefix), prefix))
        return [key for (key,) in rows]

    async def clear(self) -> None:
        await self.commit(dict.fromkeys(await self.list_keys()), (), b"")

    async def close(self) -> None:
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _reason(error: Exception) -> str:
    """One word for programs; an error without a code of SQLite's is one of `_read`, about what is in the file."""
    if isinstance(error, OSError):
        return "io"
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return "corrupt" if type(error) is sqlite3.DatabaseError else "io"
    return REASONS.get(code) or REASONS.get(code & 0xFF, "io")
