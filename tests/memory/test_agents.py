"""Agents in their own processes, on each backend: killed, moved to another node, migrated, with a full disk."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest

HERE = Path(__file__).parent
sys.path[:0] = [path for path in (str(HERE), str(HERE.parent / "contracts")) if path not in sys.path]

from memory_agents import Add, Counter, Die, Fillable, Renamed, Total  # noqa: E402  # found only now
from memory_worlds import redis_example  # noqa: E402

from actorsys import AgentDown, Get, List, Store, Supervisor  # noqa: E402
from actorsys.bus.nats import NatsBus  # noqa: E402
from actorsys.bus.nats_options import NatsOptions  # noqa: E402
from actorsys.messages import class_path  # noqa: E402
from actorsys.testing.nats import require_server, run_server  # noqa: E402
from actorsys.testing.waiting import eventually  # noqa: E402

pytestmark = pytest.mark.slow
OFTEN = {"restart": {"max_restarts": 100, "backoff": "10ms", "backoff_max": "10ms"}}


def run(main):
    async def guarded():
        async with asyncio.timeout(60):
            await main

    asyncio.run(guarded())


@contextlib.asynccontextmanager
async def server(folder):
    """A NATS server, and the URL by which everybody may use it."""
    require_server()
    async with run_server(folder) as found:
        yield found.url.replace("nats://", f"nats://{found.info.token}@")


@contextlib.asynccontextmanager
async def node(memory, folder):
    """A supervisor; with what the backend needs."""
    async with contextlib.AsyncExitStack() as exits:
        url = await exits.enter_async_context(server(folder / "nats")) if memory == "nats_kv" else "off"
        if memory.startswith("redis"):
            exits.enter_context(redis_example(folder / "redis"))
        yield await exits.enter_async_context(Supervisor(nats=url, state_dir=folder / "node"))


@pytest.mark.parametrize("memory", ["file", "sqlite", "nats_kv", "redis_memory:RedisMemory"])
def test_an_agent_that_is_killed_again_and_again_counts_each_message_once(tmp_path, memory):
    async def main():
        async with node(memory, tmp_path) as sup:
            counter = await sup.spawn(Counter, name="counter", memory=memory, **OFTEN)

            answers, pids = [], set()

            async def kill():
                for _ in range(6):
                    goal = len(answers) + 10  # and then wherever it is
                    await eventually(lambda goal=goal: len(answers) >= goal)
                    (pid,) = await eventually(lambda: {sup.children()[0]["pid"]} - {None, *pids})
                    os.kill(pid, signal.SIGKILL)
                    pids.add(pid)

            killing = asyncio.create_task(kill())
            while not killing.done():
                many = 1 if len(pids) < 3 else 20
                answers += await asyncio.gather(*(counter.ask(Add(1), timeout=30.0) for _ in range(many)))
            await killing
            answers += [await counter.ask(Add(1), timeout=30.0)]
            assert sorted(answers) == list(range(1, len(answers) + 1))
            assert await counter.state() == {"total": len(answers)}
            assert (await counter.info())["restarts"] == len(pids) == 6

    run(main())


@pytest.mark.parametrize("memory", ["file", "sqlite", "nats_kv"])
def test_the_state_of_a_stopped_agent_can_be_looked_at(tmp_path, memory):
    async def main():
        async with node(memory, tmp_path) as sup:
            counter = await sup.spawn(Counter, name="counter", memory=memory)
            await counter.ask(Add(2))
            await counter.stop()
            assert await counter.state() == {"total": 2}

    run(main())


def test_with_nats_kv_an_agent_that_stops_on_one_node_finds_its_state_on_another(tmp_path):
    async def main():
        async with server(tmp_path / "nats") as url:
            async with Supervisor(nats=url, name="one", state_dir=tmp_path / "one") as one:
                counter = await one.spawn(Counter, name="counter", memory="nats_kv")
                assert await counter.ask(Add(2)) == 2
                await counter.tell(Die())
                assert await counter.ask(Add(3)) == 5
                await counter.stop()
                async with Supervisor(nats=url, name="two", state_dir=tmp_path / "two") as two:
                    counter = await two.spawn(Counter, name="counter", memory="nats_kv")
                    assert await counter.ask(Add(1)) == 6
                    assert await counter.state() == {"total": 6, "has_died": True}

    run(main())


def test_with_nats_kv_who_lost_the_state_to_another_node_does_not_write_any_more(tmp_path):
    async def main():
        async with server(tmp_path / "nats") as url:
            async with Supervisor(nats=url, name="one", state_dir=tmp_path / "one") as one:
                old = await one.spawn(Counter, name="counter", memory="nats_kv", restart={"type": "temporary"})
                await old.ask(Add(1))
                async with Supervisor(nats=url, name="two", state_dir=tmp_path / "two") as two:
                    new = await two.spawn(Counter, name="counter", memory="nats_kv")
                    await new.ask(Add(1))
                    with pytest.raises(AgentDown):
                        await old.ask(Add(10))
                    assert await new.ask(Add(1)) == 3

    run(main())


def test_a_state_of_an_older_version_is_migrated_once(tmp_path):
    async def main():
        for cls, total in ((Counter, 1), (Renamed, 101), (Renamed, 102)):
            async with Supervisor(nats="off", state_dir=tmp_path / "node") as sup:
                counter = await sup.spawn(cls, name="counter", memory="sqlite")
                assert await counter.ask(Add(1)) == total
                assert await counter.state() == {"total": total}
                assert await counter.ask(List()) == ["total"]

    run(main())


def test_with_a_full_disk_an_agent_serves_what_it_can_and_heals(tmp_path, monkeypatch, caplog):
    full = tmp_path / "full"
    monkeypatch.setenv("FULL", str(full))

    async def main():
        async with Supervisor(nats="off", state_dir=tmp_path / "node") as sup:
            counter = await sup.spawn(Counter, name="counter", memory=class_path(Fillable))
            await counter.ask(Add(1))
            await counter.ask(Store("other", 7))
            full.touch()
            waiting = [asyncio.ensure_future(counter.ask(Add(1), timeout=30.0)) for _ in range(3)]
            await eventually(lambda: any("held back until" in record.getMessage() for record in caplog.records))
            assert await counter.ask(Get("other")) == 7
            late = asyncio.ensure_future(counter.ask(Total(), timeout=30.0))
            assert await counter.ask(Get("other")) == 7
            assert not any(ask.done() for ask in (*waiting, late))
            os.kill((await counter.info())["pid"], signal.SIGKILL)  # what was held back is delivered again, one by one
            await eventually(lambda: sum("held back until" in record.getMessage() for record in caplog.records) == 2)
            full.unlink()
            assert await asyncio.gather(*waiting, late) == [2, 3, 4, 4]
            await counter.restart()
            assert await counter.ask(Total()) == 4

    run(main())
    assert sum("the disk is full" in record.getMessage() for record in caplog.records) == 2  # once in each incarnation


def test_an_agent_that_stops_while_its_disk_is_full_keeps_its_mail(tmp_path, monkeypatch, caplog):
    full = tmp_path / "full"
    monkeypatch.setenv("FULL", str(full))

    async def main():
        async with Supervisor(nats="off", state_dir=tmp_path / "node") as sup:
            counter = await sup.spawn(Counter, name="counter", memory=class_path(Fillable), stop_timeout=3)
            full.touch()
            waiting = asyncio.ensure_future(counter.ask(Add(1), timeout=30.0))
            await eventually(lambda: any("held back until" in record.getMessage() for record in caplog.records))
            await counter.stop()
            assert not waiting.done()
            full.unlink()
            await counter.restart()
            assert await waiting == 1

    run(main())


def test_a_corrupt_state_keeps_an_agent_from_starting_and_says_what_to_do(tmp_path):
    async def main():
        for _ in range(2):
            async with Supervisor(nats="off", state_dir=tmp_path / "node") as sup:
                counter = await sup.spawn(Counter, name="counter", memory="file")
                await counter.ask(Add(1))
        (tmp_path / "node" / "agents" / "counter.0.state").write_text("broken")
        for _ in range(2):
            async with Supervisor(nats="off", state_dir=tmp_path / "node") as sup:
                with pytest.raises(Exception, match=r"set aside as counter.0.state.corrupt"):
                    await sup.spawn(Counter, name="counter", memory="file", restart={"type": "temporary"})

    run(main())


@pytest.mark.parametrize("is_allowed", [False, True])
def test_from_plain_nats_the_state_can_be_written_only_where_that_is_allowed(tmp_path, is_allowed):
    async def main():
        async with server(tmp_path / "nats") as url, Supervisor(nats=url, state_dir=tmp_path / "node") as sup:
            counter = await sup.spawn(Counter, name="counter", remote_state=is_allowed)
            await counter.ask(Add(2))
            while (await counter.info())["nats"] != "connected":  # noqa: ASYNC110 - another process tells
                await asyncio.sleep(0.01)
            async with NatsBus(NatsOptions.parse(url)) as bus:
                await bus.wait_connected(5)

                async def request(content):
                    body = {
                        "message_type": "request",
                        "from_agent": "outside",
                        "to_agent": "counter",
                        "content": content,
                        "metadata": {},
                        "timestamp": "2026-01-01T00:00:00+00:00",
                        "message_id": "00000000-0000-4000-8000-000000000001",
                        "in_reply_to": None,
                        "priority": 3,
                    }
                    answer = await bus.request("agents.request.counter", msgspec.json.encode(body), 5.0)
                    return msgspec.json.decode(answer.payload)

                assert (await request({"type": "Get", "key": "total"}))["content"] == 2
                answer = await request({"type": "Store", "key": "total", "value": 50})
                assert (answer["message_type"] == "error") is not is_allowed
                assert await counter.ask(Total()) == (50 if is_allowed else 2)

    run(main())
