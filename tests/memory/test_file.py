import asyncio
import errno
import stat
from datetime import UTC

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorsys import StateError
from actorsys.mailbox.codec import encode
from actorsys.memory import document
from actorsys.memory.base import MemoryContext, StoredFrame
from actorsys.memory.disk import RealDisk
from actorsys.memory.file import File


def made(folder, name="counter/0", disk=None):
    return File(MemoryContext(name=name, folder=folder), disk)


async def opened(folder, **more):
    memory = made(folder, **more)
    return memory, await memory.open("run1")


def commit(folder, *all_changes):
    async def main():
        memory, _ = await opened(folder)
        for changes in all_changes:
            await memory.commit({key: encode(value) for key, value in changes.items()}, (), b"")
        await memory.close()

    asyncio.run(main())


def restored(folder):
    return asyncio.run(made(folder).open("run1"))


def test_the_file_is_for_its_owner_only_and_readable(tmp_path):
    folder = tmp_path / "agents"

    async def main():
        memory, _ = await opened(folder, name="Weather-Bot/2")
        await memory.commit({"total": encode(7), "seen": encode(["é", None]), "raw": encode(b"\xff")}, ("run1.1",), b"frame")

    asyncio.run(main())
    path = folder / "weather_bot.2.state"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    header, _, body = path.read_text().partition("\n")
    assert header.startswith(f"actorsys-state 1 length={len(body.encode())} crc32=")
    assert body == (
        '{\n  "run": "run1",\n  "state": {\n    "raw": {"$msgpack":"xAH/"},\n    "seen": ["é",null],\n    "total": 7\n  },\n'
        '  "frames": [\n    [["run1.1"],"ZnJhbWU="]\n  ]\n}\n'
    )


def test_one_previous_generation_is_kept_and_nothing_else(tmp_path):
    commit(tmp_path, {"a": 1}, {"a": 2}, {"a": 3})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counter.0.state", "counter.0.state.previous"]
    (tmp_path / "counter.0.state.previous").rename(tmp_path / "counter.0.state")
    assert restored(tmp_path).values == {"a": encode(2)}


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda data: b"", "it is empty"),
        (lambda data: data[:-1], "bytes instead of"),
        (lambda data: data.replace(b'"a": 2', b'"a": 3'), "its checksum is wrong"),
        (lambda data: b"garbage" + data, "its first line"),
        (lambda data: data.replace(b"actorsys-state 1", b"actorsys-state 9"), "its format is 9"),
        (lambda data: document.header(b"{}") + b"{}", "missing required field"),
    ],
)
def test_a_file_that_cannot_be_read_is_set_aside_and_nothing_is_made_up_until_somebody_decides(tmp_path, harm, why):
    commit(tmp_path, {"a": 1}, {"a": 2})
    path = tmp_path / "counter.0.state"
    path.write_bytes(broken := harm(path.read_bytes()))
    with pytest.raises(StateError, match=why) as caught:
        restored(tmp_path)
    assert caught.value.reason == "corrupt"
    aside = tmp_path / "counter.0.state.corrupt"
    assert aside.read_bytes() == broken
    for _ in range(2):
        with pytest.raises(StateError, match=r"set aside as counter.0.state.corrupt; .*\.previous"):
            restored(tmp_path)
        with pytest.raises(StateError, match="set aside"):
            asyncio.run(made(tmp_path).peek())
    (tmp_path / "counter.0.state.previous").rename(path)
    assert restored(tmp_path).values == {"a": encode(1)}
    path.write_bytes(b"again")
    with pytest.raises(StateError, match=r"set aside as counter.0.state.corrupt-2"):
        restored(tmp_path)


def test_looking_from_outside_leaves_a_broken_file_where_it_is(tmp_path):
    (tmp_path / "counter.0.state").write_bytes(b"broken")
    with pytest.raises(StateError, match="its first line"):
        asyncio.run(made(tmp_path).peek())
    assert (tmp_path / "counter.0.state").read_bytes() == b"broken"


def test_a_file_that_went_away_without_its_previous_one_is_an_error(tmp_path):
    commit(tmp_path, {"a": 1}, {"a": 2})
    (tmp_path / "counter.0.state").unlink()
    with pytest.raises(StateError, match=r"is gone, but counter\.0\.state\.previous is there"):
        restored(tmp_path)
    (tmp_path / "counter.0.state.previous").unlink()
    assert restored(tmp_path).values == {}


class Failing(RealDisk):
    """Fails in one operation, with one error."""

    def __init__(self, folder, what, code):
        super().__init__(folder)
        self.what, self.code = what, code

    def _check(self, what):
        if self.what == what:
            raise OSError(self.code, "as planned")

    def write(self, name, data, *, sync=True):
        super().write(name, data[:10] if self.what == "write" else data, sync=sync)
        self._check("write")

    def link(self, name, to):
        self._check("link")
        super().link(name, to)

    def rename(self, name, to):
        self._check("rename")
        super().rename(name, to)


@pytest.mark.parametrize("what", ["write", "link", "rename"])
@pytest.mark.parametrize(
    ("code", "reason"), [(errno.ENOSPC, "full"), (errno.EDQUOT, "full"), (errno.EIO, "io"), (errno.EROFS, "io")]
)
def test_a_write_that_fails_changes_nothing_and_leaves_nothing(tmp_path, what, code, reason):
    async def main():
        memory, _ = await opened(tmp_path, disk=(disk := Failing(tmp_path, "", code)))
        await memory.store("a", 1)
        disk.what = what
        with pytest.raises(StateError, match="cannot write the state to") as caught:
            await memory.store("a", 2)
        assert caught.value.reason == reason
        assert await memory.retrieve("a") == 1
        assert not (tmp_path / "counter.0.state.new").exists()
        disk.what = ""
        await memory.store("b", 2)
        assert await memory.list_keys() == ["a", "b"]

    asyncio.run(main())


def test_before_it_is_open_it_says_so(tmp_path):
    with pytest.raises(StateError, match=r"counter.0.state is not open"):
        asyncio.run(made(tmp_path).store("a", 1))


def test_a_folder_that_cannot_be_made_is_a_state_error(tmp_path):
    (tmp_path / "agents").write_text("a file")
    with pytest.raises(StateError, match="cannot open the state"):
        asyncio.run(made(tmp_path / "agents").open("run1"))


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5) | st.binary(max_size=5)
values = st.recursive(
    scalars | st.datetimes(timezones=st.just(UTC)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.integers(-5, 5) | st.just("$msgpack"), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), values, max_size=4), st.binary(max_size=9))
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_to_the_byte(state, frame):
    encoded = {key: encode(value) for key, value in state.items()}
    frames = [StoredFrame(("run1.1", "é"), frame)]
    text = document.render("run1", [document.value_line(key, value) for key, value in encoded.items()], frames)
    assert document.parse(text) == ("run1", encoded, frames)
