"""What every state backend promises."""

import asyncio
import inspect
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from actorsys import StateError
from actorsys.mailbox.codec import encode
from actorsys.memory.base import Memory

sys.path.append(str(Path(__file__).parent))

from memory_worlds import BACKENDS, DURABLE, World  # found only now


@pytest.fixture(params=BACKENDS)
def check(request, tmp_path):
    return _checker(request.param, tmp_path)


@pytest.fixture(params=DURABLE)
def check_durable(request, tmp_path):
    return _checker(request.param, tmp_path)


def _checker(kind, folder):
    async def guarded(body):
        async with asyncio.timeout(30), World(kind, folder) as world:
            await body(world)

    return lambda body: asyncio.run(guarded(body))


def test_it_is_a_memory(check):
    async def body(world):
        memory = world.new()
        assert isinstance(memory, Memory)
        for name, method in inspect.getmembers(Memory, inspect.isfunction):
            if not name.startswith("_"):
                ours = inspect.signature(getattr(type(memory), name))
                assert list(ours.parameters) == list(inspect.signature(method).parameters), name

    check(body)


def test_a_new_one_is_empty(check):
    async def body(world):
        memory, restored = await world.open()
        assert (restored.values, restored.frames) == ({}, ())
        assert await memory.list_keys() == []
        assert await memory.retrieve("nothing") is None

    check(body)


VALUES = [1, "é", b"\x00\xff", None, [1, {"a": [None]}], {"k": 2.5}, 1.0, float("inf"), 2**63, {1: "one", "$msgpack": "x"}]


@pytest.mark.parametrize("value", [*VALUES, datetime(2026, 1, 2, tzinfo=UTC), {"$msgpack": "eA=="}], ids=repr)
def test_what_is_stored_is_retrieved(check, value):
    async def body(world):
        memory, _ = await world.open()
        await memory.store("key", value)
        assert await memory.retrieve("key") == value
        await memory.store("key", "another")
        assert await memory.retrieve("key") == "another"

    check(body)


def test_what_is_deleted_is_gone_and_deleting_again_is_no_error(check):
    async def body(world):
        memory, _ = await world.open()
        await memory.store("key", 1)
        await memory.delete("key")
        await memory.delete("key")
        assert await memory.retrieve("key") is None
        assert await memory.list_keys() == []

    check(body)


def test_keys_are_listed_by_prefix_in_order(check):
    async def body(world):
        memory, _ = await world.open()
        for key in ("b/2", "a", "b/1", "b", "c%", "c_d", "é/1", ""):
            await memory.store(key, 1)
        assert await memory.list_keys() == sorted(["b/2", "a", "b/1", "b", "c%", "c_d", "é/1", ""])
        assert await memory.list_keys("b/") == ["b/1", "b/2"]
        assert await memory.list_keys("c%") == ["c%"]
        assert await memory.list_keys("é") == ["é/1"]
        assert await memory.list_keys("z") == []

    check(body)


def test_clear_leaves_nothing(check):
    async def body(world):
        memory, _ = await world.open()
        await memory.clear()
        for number in range(10):
            await memory.store(str(number), number)
        await memory.clear()
        assert await memory.list_keys() == []

    check(body)


def test_a_commit_changes_and_deletes(check):
    async def body(world):
        memory, _ = await world.open()
        await memory.store("old", 1)
        await memory.commit({"old": None, "new": encode(2), "never": None}, ("run1.1",), b"frame")
        assert await memory.list_keys() == ["new"]
        assert await memory.retrieve("new") == 2
        memory.confirmed(("run1.1",))

    check(body)


def test_a_value_that_cannot_be_encoded_is_an_error_and_changes_nothing(check):
    async def body(world):
        memory, _ = await world.open()
        await memory.store("key", 1)
        with pytest.raises(StateError, match=r"state\['key'\]: object cannot be sent") as caught:
            await memory.store("key", object())
        assert (caught.value.key, caught.value.reason) == ("key", "encoding")
        assert await memory.retrieve("key") == 1

    check(body)


def test_a_value_that_is_too_large_is_an_error_that_names_its_key(check):
    async def body(world):
        memory, _ = await world.open()
        assert 0 < memory.value_bytes <= memory.total_bytes
        with pytest.raises(StateError, match=r"state\['key'\] takes .* bytes; this backend allows") as caught:
            await memory.store("key", bytes(memory.value_bytes))
        assert (caught.value.key, caught.value.reason) == ("key", "size")
        assert await memory.list_keys() == []

    check(body)


def test_a_large_value_is_taken(check):
    async def body(world):
        memory, _ = await world.open()
        value = bytes(min(memory.value_bytes, 1_000_000) - 10)
        await memory.store("key", value)
        assert await memory.retrieve("key") == value

    check(body)


# --- durable backends


def test_a_commit_is_there_after_a_crash_with_its_frame(check_durable):
    async def body(world):
        memory, _ = await world.open()
        assert memory.is_durable
        await memory.commit({"total": encode(2)}, ("run1.1", "run1.2"), b"frame one")
        await memory.commit({"total": encode(3)}, ("run1.3",), b"frame two")
        _, restored = await world.again()
        assert restored.values == {"total": encode(3)}
        assert {frame.message_ids: frame.frame for frame in restored.frames} == {
            ("run1.1", "run1.2"): b"frame one",
            ("run1.3",): b"frame two",
        }

    check_durable(body)


def test_a_commit_is_all_or_nothing(check_durable):
    async def body(world):
        memory, _ = await world.open()
        await memory.commit({"a": encode(1)}, (), b"")
        with pytest.raises(Exception, match=r"."):
            await memory.commit({"a": encode(2), "b": object()}, ("run1.1",), b"frame")
        await memory.commit({"c": encode(3)}, (), b"")
        _, restored = await world.again()
        assert restored.values == {"a": encode(1), "c": encode(3)}
        assert restored.frames == ()

    check_durable(body)


def test_a_look_from_outside_shows_what_is_committed_and_disturbs_nobody(check_durable):
    async def body(world):
        assert await world.new().peek() == {}
        memory, _ = await world.open()
        await memory.commit({"a": encode(1)}, ("run1.1",), b"frame")
        assert await world.new().peek() == {"a": encode(1)}
        await memory.commit({"a": encode(2)}, ("run1.2",), b"frame")
        assert await world.new().peek() == {"a": encode(2)}
        _, restored = await world.again()
        assert len(restored.frames) == 2

    check_durable(body)


def test_a_commit_that_is_tried_again_replaces_its_frame(check_durable):
    async def body(world):
        memory, _ = await world.open()
        await memory.commit({"a": encode(1)}, ("run1.1",), b"frame")
        await memory.commit({"a": encode(1), "b": encode(2)}, ("run1.1", "run1.2"), b"both")
        _, restored = await world.again()
        assert [(frame.message_ids, frame.frame) for frame in restored.frames] == [(("run1.1", "run1.2"), b"both")]

    check_durable(body)


def test_state_without_a_message_needs_no_frame(check_durable):
    async def body(world):
        memory, _ = await world.open()
        await memory.commit({"a": encode(1)}, (), b"")
        _, restored = await world.again()
        assert (restored.values, restored.frames) == ({"a": encode(1)}, ())

    check_durable(body)


def test_a_confirmed_frame_goes_with_the_next_commit_at_the_latest(check_durable):
    async def body(world):
        memory, _ = await world.open()
        await memory.commit({}, ("run1.1", "run1.2"), b"one")
        await memory.commit({}, ("run1.3",), b"two")
        memory.confirmed(("run1.1", "run1.2"))
        await memory.commit({}, ("run1.4",), b"three")
        _, restored = await world.again()
        assert sorted(frame.message_ids for frame in restored.frames) == [("run1.3",), ("run1.4",)]

    check_durable(body)


def test_a_failed_commit_forgets_no_confirmation(check_durable):
    async def body(world):
        memory, _ = await world.open()
        await memory.commit({}, ("run1.1",), b"one")
        memory.confirmed(("run1.1",))
        with pytest.raises(Exception, match=r"."):
            await memory.commit({"b": object()}, (), b"")
        await memory.commit({}, (), b"")
        _, restored = await world.again()
        assert restored.frames == ()

    check_durable(body)


def test_frames_of_another_run_are_purged_and_state_stays(check_durable):
    async def body(world):
        memory, _ = await world.open("run1")
        await memory.commit({"total": encode(2)}, ("run1.1",), b"frame")
        await memory.close()
        memory, restored = await world.open("run2")
        assert (restored.values, restored.frames) == ({"total": encode(2)}, ())
        await memory.close()
        _, restored = await world.open("run1")
        assert restored.frames == ()

    check_durable(body)


def test_each_agent_has_its_own(check_durable):
    async def body(world):
        for name in ("counter/0", "counter/1", "other/0"):
            memory, _ = await world.open(name=name)
            await memory.store("name", name)
        for name in ("counter/0", "counter/1", "other/0"):
            _, restored = await world.again(name=name)
            assert restored.values == {"name": encode(name)}

    check_durable(body)


def test_closing_twice_is_no_error(check):
    async def body(world):
        memory, _ = await world.open()
        await memory.close()
        await memory.close()

    check(body)
