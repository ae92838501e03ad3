"""What looks odd, but comes: it costs nobody else anything."""

import asyncio

import pytest
from hardening_agents import Fork, Odd, Print, Raise, RunPrograms, SpawnOdd
from system_agents import Add, Counter

from actorsys import AgentDown, AskTimeout, BadMessage, ConfigError, RemoteError, Supervisor
from actorsys.testing.nats import require_server
from actorsys.testing.waiting import eventually

THREADS = """
import asyncio, threading, time
from actorsys import Agent

set_event_loop = asyncio.set_event_loop

def and_a_thread(loop):
    set_event_loop(loop)
    threading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()

asyncio.set_event_loop = and_a_thread

class First(Agent):
    pass
"""


def test_names_are_unique_also_when_two_are_spawned_at_once(run):
    async def main():
        async with Supervisor(nats="off") as sup:
            both = await asyncio.gather(*(sup.spawn(Counter, name="a-b") for _ in range(2)), return_exceptions=True)
            assert sorted(type(each).__name__ for each in both) == ["ConfigError", "Ref"]
            with pytest.raises(ConfigError, match="same NATS token"):
                await sup.spawn(Counter, name="a_b")
            assert await sup.agent("a-b").ask(Add(2)) == 2
            assert [row["name"] for row in sup.children()] == ["a-b"]

    run(main())


@pytest.mark.parametrize("line", ["\x1e" + "[" * 9000, '\x1e{"level": Infinity, "text": "x"}', "\x1e{}", "\x1e"])
def test_whatever_an_agent_prints_it_stops_and_starts_again(run, line):
    async def main():
        async with Supervisor(nats="off") as sup:
            odd = await sup.spawn(Odd, name="odd")
            await odd.ask(Print(line))
            await odd.restart()
            await odd.ask(Print("still here"))

    run(main(), timeout=30)


def test_an_exception_with_a_name_that_is_no_text_reaches_the_asker(run):
    async def main():
        async with Supervisor(nats="off") as sup:
            odd = await sup.spawn(Odd, name="odd")
            with pytest.raises(RemoteError, match="udc80"):
                await odd.ask(Raise())
            assert (await odd.info())["restarts"] == 0

    run(main())


def test_arguments_that_cannot_travel_are_an_error_of_spawn(run):
    async def main():
        async with Supervisor(nats="off") as sup:
            odd = await sup.spawn(Odd, name="odd")
            assert "cannot be sent" in await odd.ask(SpawnOdd(), timeout=10)

    run(main())


@pytest.mark.parametrize("nats", ["off", "embedded"])
def test_an_agent_runs_programs_and_forks_as_any_process_does(run, nats):
    if nats == "embedded":
        require_server()

    async def main():
        async with Supervisor(nats=nats) as sup:
            odd = await sup.spawn(Odd, name="odd")
            assert await odd.ask(RunPrograms()) == ["one", "two", "-9"]
            assert await odd.ask(Fork()) == []
            assert await odd.ask(RunPrograms()) == ["one", "two", "-9"]
            assert (await odd.info())["restarts"] == 0

    run(main())


@pytest.mark.parametrize(
    "first", ["asyncio.get_event_loop_policy().get_event_loop()", "asyncio.set_event_loop(asyncio.new_event_loop())"]
)
def test_a_module_has_its_loop_when_it_is_imported_whatever_was_forked_before(run, folder, monkeypatch, first):
    (folder / "eager.py").write_text(f"import asyncio\n{first}\nfrom actorsys import Agent\nclass Eager(Agent): pass\n")
    monkeypatch.syspath_prepend(folder)

    async def main():
        async with Supervisor(nats="off") as sup:
            await sup.spawn(Odd, name="odd")
            eager = await sup.spawn("eager:Eager", name="eager")
            assert (await eager.info())["state"] == "running"

    run(main())


def test_who_starts_a_thread_with_a_loop_is_forked_and_so_are_those_after_it(run, folder, monkeypatch):
    (folder / "threads.py").write_text(THREADS)
    monkeypatch.syspath_prepend(folder)

    async def main():
        async with Supervisor(nats="off") as sup:
            for number, type in enumerate(("threads:First", "hardening_agents:Odd", "threads:First")):
                await sup.spawn(type, name=f"agent-{number}", launch="fork")

    run(main())


@pytest.mark.parametrize("timeout", [1e11, 2.0**70])
def test_a_very_long_timeout_is_a_long_one(run, timeout):
    async def main():
        async with Supervisor(nats="off") as sup:
            counter = await sup.spawn(Counter, name="counter")
            assert await counter.ask(Add(1), timeout=timeout) == 1
            with pytest.raises(BadMessage):
                await counter.ask(Add(1), timeout=float("nan"))

    run(main())


def test_asks_end_with_the_supervisor(run):
    async def main():
        async with Supervisor(nats="off") as sup:
            odd = await sup.spawn(Odd, name="odd")
            await odd.stop()
            asking = asyncio.ensure_future(odd.ask(Raise(), timeout=60))
            await eventually(lambda: sup.children()[0]["mailbox"] == 1)
        with pytest.raises((AgentDown, AskTimeout)) as caught:
            await asyncio.wait_for(asking, 5)
        assert isinstance(caught.value, AgentDown)

    run(main())


def test_an_agent_that_stops_itself_ends_though_on_stop_never_returns(run):
    async def main():
        async with Supervisor(nats="off") as sup:
            odd = await sup.spawn(Odd, name="odd", args={"lingers": True}, stop_timeout="200ms", restart={"type": "temporary"})
            await odd.tell(Print("bye"))
            await eventually(lambda: not sup.children() or sup.children()[0]["pid"] is None)

    run(main())
