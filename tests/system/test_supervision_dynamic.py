"""Agents that come, grow in number and go at run time."""

import asyncio
import gc
import time

import psutil
import pytest
from supervised import (
    QUICK,
    control,
    counts,
    eventually,
    in_state,
    kill,
    kill_and_wait,
    row,
    states,
    up_again,
    why,
)
from supervision_agents import Have, Watcher

from actorsys import ActorError, ConfigError, StartFailed, Supervisor, UnknownAgent
from actorsys.testing.children import Hog, Obedient, Pid, Quit, Slow, Stillborn, Work

OBEDIENT = "actorsys.testing.children:Obedient"


def test_an_agent_spawns_another_that_is_temporary_and_outlives_it(run):
    async def main():
        async with Supervisor(nats="off") as sup:
            parent = await sup.spawn(Watcher, name="parent")
            assert await parent.ask(Have(OBEDIENT, "child")) == "child"
            pid = await sup.agent("child").ask(Pid())
            await kill_and_wait(sup, "parent")
            assert await sup.agent("child").ask(Pid()) == pid
            await kill(sup, "child")
            await eventually(lambda: set(states(sup)) == {"parent"})
            await parent.ask(Have(OBEDIENT, "child", {"restart": {"type": "permanent"}}))
            await kill_and_wait(sup, "child")

    run(main())


def test_what_goes_wrong_with_a_spawn_is_told_to_the_agent_that_asked(run):
    async def main():
        async with Supervisor(nats="off") as sup:
            parent = await sup.spawn(Watcher, name="parent")
            pid = await parent.ask(Pid())
            for have, word in (
                (Have(OBEDIENT, "parent"), "exists already"),
                (Have(OBEDIENT, "child", {"replcas": 2}), "did you mean"),
                (Have("no.such.module:Class", "child"), "no"),
                (Have("actorsys.testing.children:Stillborn", "child"), "stillborn"),
            ):
                with pytest.raises(ActorError, match=word):
                    await parent.ask(have)
            assert counts(sup) == (1, 1)
            assert await parent.ask(Pid()) == pid

    run(main())


def test_one_child_too_many_is_refused_and_one_in_backoff_holds_its_place(run):
    """C10"""

    async def main():
        async with Supervisor(nats="off", max_children=2) as sup:
            rule = {"backoff": "1h", "backoff_max": "1h", "max_restarts": 5}
            await sup.spawn(Obedient, name="a", restart=rule)
            b = await sup.spawn(Obedient, name="b")
            for _ in range(2):
                with pytest.raises(ActorError, match="too many children: limit 2"):
                    await sup.spawn(Obedient, name="c")
                assert set(states(sup)) == {"a", "b"}
                if states(sup)["a"] == "running":
                    await kill_and_wait(sup, "a")
                    await kill(sup, "a")
                    await in_state(sup, "a", "backoff")
            await sup.delete("b")
            await sup.spawn(Obedient, name="c")
            with pytest.raises(UnknownAgent):
                await b.ask(Pid())
            with pytest.raises(ActorError, match="too many children"):
                await sup.scale("c", 2)

    run(main())


def test_replicas_are_addressed_together_and_the_least_loaded_answers(run):
    async def main():
        async with Supervisor(nats="off") as sup:
            hog = await sup.spawn(Hog, name="hog", replicas=3)
            assert set(states(sup)) == {"hog/0", "hog/1", "hog/2"}
            busy = [asyncio.ensure_future(sup.agent(f"hog/{number}").ask(Work("wait", 5))) for number in (0, 2)]
            await eventually(lambda: row(sup, "hog/0")["in_flight"] and row(sup, "hog/2")["in_flight"])
            assert {await hog.ask(Pid(), timeout=2) for _ in range(5)} == {row(sup, "hog/1")["pid"]}
            for ask in busy:
                ask.cancel()
            await asyncio.gather(*busy, return_exceptions=True)

    run(main())


def test_scale_adds_and_removes_only_the_difference(run):
    """C12"""

    async def main():
        async with Supervisor(nats="off") as sup:
            a = await sup.spawn(Obedient, name="a")
            first = row(sup, "a")["pid"]
            await sup.scale("a", 3)
            rows = {row["name"]: row["pid"] for row in sup.children()}
            assert set(rows) == {"a/0", "a/1", "a/2"}
            assert rows["a/0"] == first
            await sup.scale("a", 2)
            assert {row["name"]: row["pid"] for row in sup.children()} == {name: rows[name] for name in ("a/0", "a/1")}
            await sup.scale("a", 1)
            assert states(sup) == {"a": "running"}
            assert await a.ask(Pid()) == first
            with pytest.raises(ConfigError, match="replicas = 0"):
                await sup.scale("a", 0)
            with pytest.raises(UnknownAgent):
                await sup.scale("b", 2)

    run(main())


def test_a_stop_of_all_replicas_is_no_flapping(run):
    """C06: each stays down, and for the limit nothing has happened."""

    async def main():
        async with Supervisor(nats="off", max_restarts=1) as sup:
            a = await sup.spawn(Obedient, name="a", replicas=4, restart={"max_restarts": 0})
            await a.stop()
            assert set(states(sup).values()) == {"stopped"}
            await asyncio.sleep(0.3)  # nothing comes back meanwhile
            assert counts(sup) == (4, 0)
            await control(sup, "start", "a")
            assert counts(sup) == (4, 4)

    run(main())


def test_delete_leaves_nothing_of_an_agent(run):
    async def main():
        async with Supervisor(nats="off") as sup:
            a = await sup.spawn(Obedient, name="a", replicas=2)
            await sup.delete("a")
            assert sup.children() == []
            assert sup.driver.members == {}
            with pytest.raises(UnknownAgent):
                await a.ask(Pid())
            with pytest.raises(UnknownAgent):
                await sup.delete("a")
            await sup.spawn(Obedient, name="a")
            assert await a.ask(Pid())

    run(main())


# Commands and races


def test_a_command_that_does_not_apply_says_so_and_changes_nothing(run):
    """C01"""

    async def main():
        async with Supervisor(nats="off") as sup:
            a = await sup.spawn(Obedient, name="a")
            pid = await a.ask(Pid())
            assert await control(sup, "start", "a") == [{"name": "a", "state": "running", "pid": pid}]
            with pytest.raises(ConfigError, match="exists already"):
                await sup.spawn(Obedient, name="a")
            for _ in range(2):
                await a.stop()
                assert states(sup) == {"a": "stopped"}
            with pytest.raises(ConfigError, match="exists already"):
                await sup.spawn(Obedient, name="a")
            assert (await control(sup, "kill", "a"))[0]["state"] == "stopped"
            for do in ("start", "stop", "restart", "kill"):
                with pytest.raises(UnknownAgent):
                    await control(sup, do, "b")
            await sup.delete("a")
            assert counts(sup) == (0, 0)

    run(main())


LOOPING = {"max_restarts": 1000, "backoff": "50ms", "backoff_max": "50ms"}


@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one"])
def test_a_restart_loop_can_be_seen_stopped_and_mended(run, folder, strategy):
    """C02, C03: in the middle of three; c1 keeps its process."""
    cure = folder / "cure"

    async def main():
        cure.touch()
        async with Supervisor(nats="off", strategy=strategy) as sup:
            await sup.spawn(Obedient, name="c1")
            await sup.spawn(Stillborn, name="c2", args={"cure": str(cure)}, restart=LOOPING)
            await sup.spawn(Obedient, name="c3")
            pid = row(sup, "c1")["pid"]
            cure.unlink()
            await kill(sup, "c2")
            await eventually(lambda: len(sup.driver.members["c2/0"].exits) > 2)
            shown = await in_state(sup, "c2", "backoff")
            assert shown["note"].startswith("retry in ")
            with pytest.raises(ActorError, match="restarting"):
                await control(sup, "restart", "c2")
            assert counts(sup) == (3, 2 if strategy == "one_for_one" else 1)
            assert row(sup, "c1")["pid"] == pid
            await control(sup, "stop", "c2")
            assert states(sup)["c2"] == "stopped"
            cure.touch()
            await control(sup, "start", "c2")
            await eventually(lambda: set(states(sup).values()) == {"running"})
            assert row(sup, "c1")["pid"] == pid

    run(main())


def test_the_supervisor_stops_at_once_in_the_middle_of_a_restart_loop(run, folder):
    """C02"""
    cure = folder / "cure"

    async def main():
        cure.touch()
        sup = Supervisor(nats="off")
        async with sup:
            await sup.spawn(
                Stillborn, name="a", args={"cure": str(cure)}, restart={**LOOPING, "backoff": "1h", "backoff_max": "1h"}
            )
            cure.unlink()
            await kill(sup, "a")
            await in_state(sup, "a", "backoff")
            began = time.monotonic()
        assert time.monotonic() - began < 1

    run(main())


def test_a_stop_during_a_backoff_means_no_process_any_more(run):
    """C04"""

    async def main():
        async with Supervisor(nats="off") as sup:
            a = await sup.spawn(Obedient, name="a", restart={"backoff": "100ms", "jitter": 0.0})
            await kill_and_wait(sup, "a")
            await kill(sup, "a")
            await in_state(sup, "a", "backoff")
            await a.stop()
            await asyncio.sleep(0.3)  # three times the wait
            assert states(sup) == {"a": "stopped"}
            assert row(sup, "a")["incarnation"] == 2

    run(main())


def test_twenty_restarts_at_once_leave_one_process_and_none_overlap(run, folder, journal):
    """C05"""

    async def main():
        async with Supervisor(nats="off") as sup:
            args = {"lock": str(folder / "lock"), "journal": str(journal)}
            a = await sup.spawn(Obedient, name="a", args=args)
            await asyncio.gather(*(a.restart() for _ in range(20)))
            await in_state(sup, "a", "running")
            assert counts(sup) == (1, 1)
            assert {exit["reason"] for exit in await why(sup, "a")} == {"shutdown"}

    run(main())
    assert journal.lines == ["a start", "a stop"] * (len(journal.lines) // 2)


def test_an_agent_may_decline_to_start(run, folder):
    """C09: one of a file is kept, without a process; one that was spawned is not, and the caller is told."""
    (folder / "agents.toml").write_text(
        '[nats]\nmode = "off"\n[agents.a]\ntype = "actorsys.testing.children:Stillborn"\nargs = { how = "decline" }\n'
    )

    async def main():
        async with Supervisor.from_toml(folder / "agents.toml") as sup:
            await in_state(sup, "a", "stopped")
            assert counts(sup) == (1, 0)
            assert (await why(sup, "a"))[0]["decision"] == "declined to start"
            for type in ("permanent", "temporary"):
                with pytest.raises(StartFailed, match="did not start: normal"):
                    await sup.spawn(Stillborn, name=type, args={"how": "decline"}, restart={"type": type})
            assert set(states(sup)) == {"a"}

    run(main())


def test_large_arguments_and_many_restarts_leave_no_weight(run):
    """C13"""

    async def main():
        me = psutil.Process()
        async with Supervisor(nats="off") as sup:
            await sup.spawn(Obedient, name="keeps", restart={"max_restarts": 1000, **QUICK})

            async def come_and_go(number):
                name = f"a{number}"
                a = await sup.spawn(Obedient, name=name, args={"load": "x" * 5_000_000}, restart={"type": "temporary"})
                await a.tell(Quit())
                await eventually(lambda: name not in states(sup))

            await asyncio.gather(*(come_and_go(number) for number in range(3)))
            gc.collect()
            descriptors, memory = me.num_fds(), me.memory_info().rss
            for first in range(10, 40, 3):
                await asyncio.gather(*(come_and_go(first + number) for number in range(3)))
            gc.collect()
            assert me.num_fds() == descriptors
            assert me.memory_info().rss - memory < 50_000_000  # one third of the arguments that came and went

    run(main())


def test_what_is_listed_and_what_is_counted_always_agree(run):
    """C16"""

    async def main():
        async with Supervisor(nats="off") as sup:
            seen = []

            async def look():
                while True:
                    rows = sup.children()
                    names = [row["name"] for row in rows]
                    assert len(set(names)) == len(names) == len(sup.driver.members) == len(sup.mail.switchboard.boxes)
                    assert all((row["pid"] is None) or row["state"] in ("starting", "running", "stopping") for row in rows)
                    seen.append(len(names))
                    await asyncio.sleep(0)

            looking = asyncio.ensure_future(look())

            async def live(number):
                a = await sup.spawn(Obedient, name=f"a{number}", restart={"type": "temporary" if number % 2 else "permanent"})
                if number % 3:
                    await a.stop()
                if number % 2 == 0:
                    await sup.delete(a.name)
                elif number % 3 == 0:
                    await a.tell(Quit())

            for first in range(0, 40, 8):
                await asyncio.gather(*(live(first + number) for number in range(8)))
            await eventually(lambda: sup.children() == [])
            assert not looking.done(), looking.exception()
            looking.cancel()
            assert len(seen) > 100
            assert max(seen) > 4

    run(main())


def test_fifty_spawns_at_once_neither_deadlock_nor_block_the_loop(run):
    """C17: the loop's own work between two turns, in processor time: a busy machine is no fault of it."""

    async def main():
        async with Supervisor(nats="off") as sup:
            longest = 0.0

            async def watch():
                nonlocal longest
                while True:
                    before = time.thread_time()
                    await asyncio.sleep(0.002)
                    longest = max(longest, time.thread_time() - before)

            watching = asyncio.ensure_future(watch())
            refs = await asyncio.gather(*(sup.spawn(Slow, name=f"a{number}") for number in range(50)))
            assert len({*await asyncio.gather(*(ref.ask(Pid()) for ref in refs))}) == 50
            watching.cancel()
            assert longest < 0.1
            pid = row(sup, "a0")["pid"]
            await control(sup, "kill", "a0")
            await up_again(sup, "a0", pid)

    run(main())
