"""State in one SQLite file per agent: WAL, synchronous=FULL, so that what was committed survives SIGKILL and power loss.

Calls run in the agent's own loop, not in a thread: a commit takes 0.1 to 1 ms, a hop to a thread and back costs as much, and only this
agent waits.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..errors import StateError
from ..mailbox.codec import decode, encode
from ..names import token
from .base import Restored, StoredFrame

SCHEMA = """
create table if not exists state (key text primary key, value blob not null) without rowid;
create table if not exists frames (first text primary key, message_ids text not null, frame blob not null) without rowid;
create table if not exists meta (key text primary key, value text not null) without rowid;
"""
BUSY_MS = 5000  # a reader from outside, such as a backup, may hold the file for a moment


class Sqlite:
    is_durable = True

    def __init__(self, name: str, state_dir: Path) -> None:
        self._path = state_dir / f"{token(name).replace('/', '.')}.sqlite"
        self._confirmed: list[str] = []
        self._file: sqlite3.Connection | None = None

    @property
    def _db(self) -> sqlite3.Connection:
        if self._file is None:
            raise StateError(f"{self._path.name} is not open")
        return self._file

    async def open(self, run: str) -> Restored:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = db = sqlite3.connect(self._path, isolation_level=None, timeout=BUSY_MS / 1000)
            self._path.chmod(0o600)
            db.execute("pragma journal_mode = wal")
            db.execute("pragma synchronous = full")
            db.executescript(SCHEMA)
            known = db.execute("select value from meta where key = 'run'").fetchone()
            if known != (run,):
                db.execute("begin immediate")
                db.execute("delete from frames")
                db.execute("insert or replace into meta values ('run', ?)", (run,))
                db.execute("commit")
            values = dict(db.execute("select key, value from state"))
            frames = tuple(
                StoredFrame(tuple(msgspec.json.decode(ids)), frame)
                for ids, frame in db.execute("select message_ids, frame from frames")
            )
        except (OSError, sqlite3.Error) as error:
            raise StateError(f"cannot open the state in {self._path}: {error}") from error
        return Restored(values, frames)

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
                db.execute("rollback")
                raise
        except sqlite3.Error as error:
            raise StateError(f"cannot write the state to {self._path}: {error}") from error
        self._confirmed.clear()

    def confirmed(self, message_ids: Sequence[str]) -> None:
        self._confirmed.append(message_ids[0])  # deleted by the next commit: a row too many costs nothing, a transaction does

    async def store(self, key: str, value: Any) -> None:
        await self.commit({key: encode(value)}, (), b"")

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
        if self._file is not None:
            self._file.close()
            self._file = None
