"""State in a NATS bucket: who may write, and what an outage does."""

import asyncio
import contextlib

import pytest

from actorsys import StateError
from actorsys.mailbox.codec import encode
from actorsys.memory import nats_kv
from actorsys.memory.base import MemoryContext
from actorsys.memory.nats_kv import BUCKET, NatsKv
from actorsys.testing.nats import require_server, run_server
from actorsys.testing.waiting import eventually


@pytest.fixture
def check(tmp_path):
    """Run a test body with a server and a function that makes backends for it."""
    require_server()

    def checker(body, **options):
        async def main():
            made = []
            async with asyncio.timeout(30), run_server(tmp_path / "nats", **options) as server:

                def make(name="counter/0", **more):
                    nats = {"urls": [server.url], "token": server.info.token, "ping_interval": 0.2, "ping_timeout": 0.4, **more}
                    made.append(NatsKv(MemoryContext(name=name, folder=tmp_path, nats=nats)))
                    return made[-1]

                try:
                    await body(server, make)
                finally:
                    server.thaw()
                    for memory in made:
                        await memory.close()

        asyncio.run(main())

    return checker


async def bucket_of(memory):
    return await memory._bucket()


def test_only_who_opened_it_last_can_write(check):
    async def body(server, make):
        old, new = make(), make()
        await old.open("run1")
        await old.commit({"a": encode(1)}, ("run1.1",), b"frame")
        assert (await new.open("run1")).values == {"a": encode(1)}
        for _ in range(2):
            with pytest.raises(StateError, match=r"taken over the state of counter\.0") as caught:
                await old.commit({"a": encode(2)}, ("run1.2",), b"frame")
            assert caught.value.reason == "taken"
        await new.commit({"a": encode(3)}, ("run1.2",), b"frame")
        assert await new.peek() == {"a": encode(3)}

    check(body)


@pytest.mark.slow
def test_a_commit_without_an_answer_is_found_out_about_before_the_next(check, monkeypatch):
    monkeypatch.setattr(nats_kv, "CALL_TIMEOUT", 0.3)

    async def body(server, make):
        memory = make()
        await memory.open("run1")
        await memory.commit({"a": encode(1)}, ("run1.1",), b"one")
        server.freeze()
        for _ in range(2):
            with pytest.raises(StateError) as caught:
                await memory.commit({"a": encode(2)}, ("run1.2",), b"two")
            assert caught.value.reason == "unreachable"
        server.thaw()
        while True:
            with contextlib.suppress(StateError):
                await memory.commit({"a": encode(2), "b": encode(3)}, ("run1.2", "run1.3"), b"two and three")
                break
            await asyncio.sleep(0.05)
        await memory.commit({"c": encode(4)}, ("run1.4",), b"four")
        restored = await make().open("run1")
        assert restored.values == {"a": encode(2), "b": encode(3), "c": encode(4)}
        assert [frame.message_ids for frame in restored.frames] == [("run1.1",), ("run1.2", "run1.3"), ("run1.4",)]

    check(body)


@pytest.mark.slow
def test_a_frozen_server_is_noticed_by_who_commits_also_in_a_large_fleet(check, monkeypatch):
    monkeypatch.setattr(nats_kv, "CALL_TIMEOUT", 0.3)

    async def body(server, make):
        memory = make(quiet_interval=60.0)
        await memory.open("run1")
        await eventually(lambda: memory._bus.client.on_send is not None)  # it is quiet
        server.freeze()
        with pytest.raises(StateError, match="does not answer"):
            await memory.store("a", 1)
        await eventually(lambda: memory._bus.state == "connecting", 5.0)
        assert "ping" in memory._bus.reason

    check(body)


def test_without_a_server_it_says_so(check, monkeypatch):
    monkeypatch.setattr(nats_kv, "CONNECT_TIMEOUT", 0.1)

    async def body(server, make):
        server.kill()
        for call in (make().open("run1"), make().peek()):
            with pytest.raises(StateError, match=r"the state of counter.0 is in NATS: .* is not connected") as caught:
                await call
            assert caught.value.reason == "unreachable"

    check(body)


@pytest.mark.parametrize(
    ("data", "why"), [(b"\xc1", "malformed"), (b"", "truncated"), (encode([9, "", "", 0, {}, []]), "its format is 9")]
)
def test_an_entry_that_cannot_be_read_is_left_alone_and_is_no_empty_state(check, data, why):
    async def body(server, make):
        memory = make()
        await memory.open("run1")
        revision = await (await bucket_of(memory)).put("counter.0", data)
        for _ in range(2):
            with pytest.raises(
                StateError, match=f"(?i)entry counter.0 of the NATS bucket {BUCKET} cannot be read .*{why}"
            ) as caught:
                await make().open("run1")
            assert caught.value.reason == "corrupt"
        assert (await (await bucket_of(memory)).get("counter.0")).revision == revision

    check(body)


def test_an_entry_that_was_deleted_is_an_empty_state(check):
    async def body(server, make):
        memory = make()
        await memory.open("run1")
        await memory.store("a", 1)
        await (await bucket_of(memory)).delete("counter.0")
        memory = make()
        assert (await memory.open("run1")).values == {}
        await memory.store("b", 1)
        assert await make().peek() == {"b": encode(1)}

    check(body)


def test_what_the_server_would_not_take_is_an_error_and_changes_nothing(check):
    async def body(server, make):
        memory = make()
        await memory.open("run1")
        assert memory.total_bytes < 100_000 / 2
        await memory.store("a", bytes(10_000))
        with pytest.raises(StateError, match=r"the server takes .* at once") as caught:
            await memory.commit({"b": encode(1)}, ("run1.1",), bytes(95_000))
        assert caught.value.reason == "size"
        await memory.commit({"b": encode(1)}, ("run1.1",), bytes(50_000))
        with pytest.raises(StateError, match=r"the server takes .* at once") as caught:
            await memory.commit({"b": encode(2)}, ("run1.2",), bytes(50_000))
        assert caught.value.reason == "busy"  # until the first frame is confirmed
        memory.confirmed(("run1.1",))
        await memory.commit({"b": encode(2)}, ("run1.2",), bytes(50_000))

    check(body, max_payload=100_000)


def test_its_repr_and_errors_show_no_password(check):
    async def body(server, make):
        memory = make()
        server.kill()
        nats_kv_timeout, nats_kv.CONNECT_TIMEOUT = nats_kv.CONNECT_TIMEOUT, 0.1
        try:
            with pytest.raises(StateError) as caught:
                await memory.open("run1")
        finally:
            nats_kv.CONNECT_TIMEOUT = nats_kv_timeout
        assert server.info.token not in str(caught.value)
        assert server.info.token not in repr(memory)

    check(body)
