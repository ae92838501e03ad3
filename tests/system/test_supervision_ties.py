"""Monitors and links between real processes: one notice for each monitor, with the true reason."""

import asyncio

import pytest
from supervised import QUICK, eventually, in_state, kill, kill_and_wait, row, states, up_again, why
from supervision_agents import Downs, Linked, Watch, Watcher

from actorsys import ConfigError, Supervisor, UnknownAgent
from actorsys.testing.children import Obedient, Pid, Quit

ONCE = {"max_deliveries": 1}


async def downs(watcher, count):
    """The notices, once there are so many; then a round trip more, so that one too many would have come."""
    async with asyncio.timeout(20):
        while len(found := await watcher.ask(Downs())) < count:
            pass
    return [tuple(pair) for pair in found]


@pytest.mark.parametrize(
    ("quit", "reason"),
    [
        (Quit("stop"), "normal"),
        (Quit("exit", 3), "exited with code 3"),
        (Quit("signal", 11), "killed by SIGSEGV"),
        (Quit("raise"), "crashed: RuntimeError: told to quit"),
    ],
)
def test_a_monitor_is_answered_once_with_the_true_reason(run, quit, reason):
    """D11"""

    async def main():
        async with Supervisor(nats="off") as sup:
            watcher = await sup.spawn(Watcher, name="watcher")
            target = await sup.spawn(Obedient, name="target", mailbox=ONCE, restart=QUICK)
            await watcher.ask(Watch("monitor", "target"))
            pid = await target.ask(Pid())
            await target.tell(quit)
            await up_again(sup, "target", pid)
            assert await downs(watcher, 1) == [("target", reason)]
            await kill_and_wait(sup, "target")  # that monitor is used up
            assert await downs(watcher, 1) == [("target", reason)]

    run(main())


def test_each_monitor_gets_its_notice_and_a_demonitor_ends_all(run):
    """D11"""

    async def main():
        async with Supervisor(nats="off") as sup:
            watcher = await sup.spawn(Watcher, name="watcher")
            await sup.spawn(Obedient, name="target", restart={"max_restarts": 9, **QUICK})
            for _ in range(2):
                await watcher.ask(Watch("monitor", "target"))
            await kill_and_wait(sup, "target")
            assert len(await downs(watcher, 2)) == 2
            for what in ("monitor", "monitor", "demonitor"):
                await watcher.ask(Watch(what, "target"))
            await kill_and_wait(sup, "target")
            assert len(await downs(watcher, 2)) == 2

    run(main())


def test_a_monitor_on_one_that_is_down_or_unknown_is_answered_at_once(run):
    """D11"""

    async def main():
        async with Supervisor(nats="off") as sup:
            watcher = await sup.spawn(Watcher, name="watcher")
            await sup.spawn(Obedient, name="target", restart={"max_restarts": 0})
            await kill(sup, "target")
            await in_state(sup, "target", "failed")
            await watcher.ask(Watch("monitor", "target"))
            await watcher.ask(Watch("monitor", "nobody"))
            (first, second) = await downs(watcher, 2)
            assert first[0] == "target"
            assert first[1].startswith("killed by SIGKILL")
            assert second == ("nobody", "unknown")

    run(main())


def test_a_monitor_ends_with_the_life_that_made_it(run):
    """D11: the next incarnation of the watcher makes its own in `on_start`."""

    async def main():
        async with Supervisor(nats="off") as sup:
            watcher = await sup.spawn(Watcher, name="watcher", memory="sqlite")
            await sup.spawn(Obedient, name="target")
            await watcher.ask(Watch("monitor", "target"))
            await kill_and_wait(sup, "watcher")
            await kill_and_wait(sup, "target")
            assert await downs(watcher, 0) == []

    run(main())


def test_linked_agents_die_together_and_their_restart_types_decide(run):
    """D11"""

    async def main():
        async with Supervisor(nats="off") as sup:
            await sup.spawn(Obedient, name="a")
            await sup.spawn(Linked, name="b", args={"to": "a"}, restart=QUICK)
            await sup.spawn(Linked, name="c", args={"to": "a"}, restart={"type": "temporary"})
            await eventually(lambda: row(sup, "c")["state"] == "running")
            before = row(sup, "b")["pid"]
            await kill_and_wait(sup, "a")
            await up_again(sup, "b", before)
            await eventually(lambda: set(states(sup)) == {"a", "b"})
            last = (await why(sup, "b"))[0]
            assert (last["reason"], last["signal"]) == ("killed", "SIGKILL")
            assert last["detail"].startswith("it was linked to a, which died (killed by SIGKILL")

    run(main())


def test_a_normal_end_or_an_unlink_dissolves_a_link(run):
    """D11"""

    async def main():
        async with Supervisor(nats="off") as sup:
            a = await sup.spawn(Watcher, name="a", mailbox=ONCE)
            b = await sup.spawn(Watcher, name="b")
            pid = await b.ask(Pid())
            await a.ask(Watch("link", "b"))
            first = await a.ask(Pid())
            await a.tell(Quit("stop"))
            await up_again(sup, "a", first)
            assert await b.ask(Pid()) == pid
            await a.ask(Watch("link", "b"))
            await b.ask(Watch("unlink", "a"))
            await kill_and_wait(sup, "a")
            assert await b.ask(Pid()) == pid

    run(main())


def test_instead_of_dying_with_another_one_may_watch_it(run):
    """D11: what others do with a flag is a monitor here."""

    async def main():
        async with Supervisor(nats="off") as sup:
            watcher = await sup.spawn(Watcher, name="watcher")
            pid = await watcher.ask(Pid())
            await sup.spawn(Obedient, name="target")
            await watcher.ask(Watch("monitor", "target"))
            await kill_and_wait(sup, "target")
            await downs(watcher, 1)
            assert await watcher.ask(Pid()) == pid

    run(main())


def test_two_lives_never_overlap(run, folder, journal):
    """D10: the next one would find the lock held, and the old one's `on_stop` is over before the next `on_start`."""

    async def main():
        async with Supervisor(nats="off") as sup:
            args = {"lock": str(folder / "lock"), "journal": str(journal)}
            a = await sup.spawn(Obedient, name="a", args=args, restart={"max_restarts": 100, **QUICK})
            for _ in range(10):
                await kill_and_wait(sup, "a")
                await a.restart()
            assert {exit["reason"] for exit in await why(sup, "a")} == {"killed", "shutdown"}

    run(main())
    assert journal.lines == [*["a start", "a start", "a stop"] * 10, "a start", "a stop"]


def test_a_name_goes_to_the_next_life_and_is_free_after_the_last(run):
    """D12"""

    async def main():
        async with Supervisor(nats="off") as sup:
            a = await sup.spawn(Obedient, name="a")
            with pytest.raises(ConfigError, match="exists already"):
                await sup.spawn(Obedient, name="a")
            after = await kill_and_wait(sup, "a")
            assert await a.ask(Pid()) == after["pid"]
            b = await sup.spawn(Obedient, name="b", restart={"type": "temporary"})
            first = await b.ask(Pid())
            await kill(sup, "b")
            async with asyncio.timeout(5):
                while "b" in states(sup):
                    await sup.driver.changed("b/0")
            with pytest.raises(UnknownAgent):
                sup.agent("b")
            await sup.spawn(Obedient, name="b")
            assert await b.ask(Pid()) != first  # an old ref means whoever has the name

    run(main())
