import asyncio
import contextlib
import sqlite3
import stat

import pytest

from actorsys import StateError
from actorsys.mailbox.codec import encode
from actorsys.memory.sqlite import Sqlite


@contextlib.asynccontextmanager
async def opened(folder, name="counter/0", run="run1"):
    memory = Sqlite(name, folder)
    try:
        yield memory, await memory.open(run)
    finally:
        await memory.close()


def test_the_file_is_for_its_owner_only_and_named_by_the_agents_token(tmp_path):
    async def main():
        async with opened(tmp_path / "agents", "Weather-Bot/2"):
            path = tmp_path / "agents" / "weather_bot.2.sqlite"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    asyncio.run(main())


def test_what_was_committed_is_on_the_disk(tmp_path):
    async def main():
        async with opened(tmp_path) as (memory, _):
            db = memory._db
            assert db.execute("pragma journal_mode").fetchone() == ("wal",)
            assert db.execute("pragma synchronous").fetchone() == (2,)  # full

    asyncio.run(main())


def test_before_it_is_open_it_says_so(tmp_path):
    with pytest.raises(StateError, match=r"counter.0.sqlite is not open"):
        asyncio.run(Sqlite("counter/0", tmp_path).store("a", 1))


@pytest.mark.parametrize("content", [b"this is no database, but long enough to look at" * 100])
def test_a_file_that_is_no_database_is_a_state_error_that_names_it(tmp_path, content):
    (tmp_path / "counter.0.sqlite").write_bytes(content)

    async def main():
        async with opened(tmp_path):
            pass

    with pytest.raises(StateError, match=r"cannot open the state in .*counter.0.sqlite"):
        asyncio.run(main())


def test_a_folder_that_cannot_be_made_is_a_state_error(tmp_path):
    (tmp_path / "agents").write_text("a file")

    async def main():
        async with opened(tmp_path / "agents"):
            pass

    with pytest.raises(StateError, match="cannot open the state"):
        asyncio.run(main())


def test_a_write_that_fails_is_a_state_error_and_the_next_one_works(tmp_path):
    async def main():
        async with opened(tmp_path) as (memory, _):
            memory._db.execute("pragma max_page_count = 20")
            with pytest.raises(StateError, match="cannot write the state to"):
                await memory.store("big", "x" * 1_000_000)
            await memory.store("small", 1)
            assert await memory.list_keys() == ["small"]

    asyncio.run(main())


def test_another_program_can_read_it_meanwhile(tmp_path):
    async def main():
        async with opened(tmp_path) as (memory, _):
            await memory.store("a", 1)
            with contextlib.closing(sqlite3.connect(tmp_path / "counter.0.sqlite")) as reader:
                reader.execute("begin")
                assert reader.execute("select key, value from state").fetchall() == [("a", encode(1))]
                await memory.store("b", 2)

    asyncio.run(main())
