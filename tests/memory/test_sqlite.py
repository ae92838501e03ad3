import asyncio
import contextlib
import sqlite3
import stat

import pytest

from actorsys import StateError
from actorsys.mailbox.codec import encode
from actorsys.memory.base import MemoryContext
from actorsys.memory.sqlite import Sqlite


def made(folder, name="counter/0"):
    return Sqlite(MemoryContext(name=name, folder=folder))


@contextlib.asynccontextmanager
async def opened(folder, name="counter/0", run="run1"):
    memory = made(folder, name)
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
        asyncio.run(made(tmp_path).store("a", 1))


def restored(folder):
    async def main():
        async with opened(folder) as (_, found):
            return found.values

    return asyncio.run(main())


def commit(folder, **values):
    async def main():
        async with opened(folder) as (memory, _):
            for key, value in values.items():
                await memory.store(key, value)

    asyncio.run(main())


def killed(folder, count=50):
    """A file as a SIGKILL leaves it: copied while it is open, its WAL not written back."""
    (folder / "live").mkdir()

    async def main():
        async with opened(folder / "live") as (memory, _):
            for number in range(count):
                await memory.store(str(number), "x" * 100)
            for path in (folder / "live").iterdir():
                (folder / path.name).write_bytes(path.read_bytes())

    asyncio.run(main())
    assert (folder / "counter.0.sqlite-wal").stat().st_size > 0


def test_after_an_unclean_end_everything_is_there(tmp_path):
    killed(tmp_path)
    assert len(restored(tmp_path)) == 50
    assert not (tmp_path / "counter.0.sqlite-wal").exists()  # closed in order


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"this is no database, but long enough to look at" * 100, "file is not a database"), (b"", "the file is empty")],
)
def test_a_file_that_cannot_be_read_is_set_aside_and_nothing_is_made_up_until_somebody_decides(tmp_path, content, why):
    path = tmp_path / "counter.0.sqlite"
    commit(tmp_path, a=1)
    path.write_bytes(content)
    with pytest.raises(StateError, match=f"{why}.*set aside as counter.0.sqlite.corrupt") as caught:
        restored(tmp_path)
    assert caught.value.reason == "corrupt"
    assert (tmp_path / "counter.0.sqlite.corrupt").read_bytes() == content
    for _ in range(2):
        with pytest.raises(StateError, match=r"was set aside as counter.0.sqlite.corrupt; nothing is in its place"):
            restored(tmp_path)
    (tmp_path / "counter.0.sqlite.corrupt").unlink()
    assert restored(tmp_path) == {}


def test_a_page_that_was_harmed_is_found_after_an_unclean_end(tmp_path):
    killed(tmp_path, count=500)
    with contextlib.closing(sqlite3.connect(tmp_path / "counter.0.sqlite")) as db:
        db.execute("pragma wal_checkpoint(truncate)")
    data = bytearray((tmp_path / "counter.0.sqlite").read_bytes())
    data[4096 * 3 : 4096 * 6] = b"\x5a" * (4096 * 3)
    (tmp_path / "counter.0.sqlite").write_bytes(data)
    (tmp_path / "counter.0.sqlite-wal").write_bytes(b"left over")
    with pytest.raises(StateError, match="set aside") as caught:
        restored(tmp_path)
    assert caught.value.reason == "corrupt"
    assert (tmp_path / "counter.0.sqlite.corrupt").exists()


def test_a_wal_without_its_file_is_no_empty_state(tmp_path):
    killed(tmp_path)
    (tmp_path / "counter.0.sqlite").unlink()
    with pytest.raises(StateError, match=r"counter\.0\.sqlite-wal is there without it"):
        restored(tmp_path)
    assert (tmp_path / "counter.0.sqlite.corrupt-wal").stat().st_size > 0


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
            with pytest.raises(StateError, match="cannot write the state to") as caught:
                await memory.store("big", "x" * 1_000_000)
            assert caught.value.reason == "full"
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


def test_while_another_program_writes_it_is_busy_and_that_passes(tmp_path):
    async def main():
        async with opened(tmp_path) as (memory, _):
            memory._db.execute("pragma busy_timeout = 1")
            with contextlib.closing(sqlite3.connect(tmp_path / "counter.0.sqlite")) as writer:
                writer.execute("begin immediate")
                with pytest.raises(StateError, match="locked") as caught:
                    await memory.store("a", 1)
                assert caught.value.reason == "busy"
            await memory.store("a", 1)

    asyncio.run(main())
