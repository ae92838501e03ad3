"""Which death is followed by a restart, and when that is enough: with real processes. `tests/supervision` has the same with a clock of its own."""

import asyncio
import re

import pytest
from supervised import ONCE, QUICK, control, counts, eventually, in_state, kill, kill_and_wait, row, states, up_again, why

from actorsys import StartFailed, Supervisor, UnknownAgent
from actorsys.testing.children import Obedient, Pid, Quit, Quitter, Slow, Stillborn


def test_crashes_further_apart_than_the_window_are_survived(run):
    """A01"""

    async def main():
        async with Supervisor(nats="off") as sup:
            await sup.spawn(Obedient, name="a", restart={"max_restarts": 1, "window": "200ms", **QUICK})
            pids = {row(sup, "a")["pid"]}
            for _ in range(4):
                await asyncio.sleep(0.25)  # the window passes: that is the point
                pids.add((await kill_and_wait(sup, "a"))["pid"])
            assert len(pids) == 5
            assert row(sup, "a")["restarts"] == 4

    run(main())


def test_the_limit_of_the_supervisor_stops_everything(run):
    """A02; the limit per child is another one, and generous here."""

    async def main():
        async with Supervisor(nats="off", max_restarts=2, window="1h") as sup:
            for name in ("c1", "c2"):
                await sup.spawn(Obedient, name=name)
            other = row(sup, "c2")["pid"]
            await kill_and_wait(sup, "c1")
            assert row(sup, "c2")["pid"] == other
            assert counts(sup) == (2, 2)
            await kill_and_wait(sup, "c2")
            await kill(sup, "c1")
            assert await sup.wait_stopped() == 1

    run(main())


WAYS = {
    "normal": (Quit("exit", 0), "normal", None),
    "shutdown": (Quit("stop"), "normal", None),
    "crash": (Quit("raise"), "crashed", None),
    "sigkill": (Quit("signal", 9), "killed", "SIGKILL"),
    "sigsegv": (Quit("signal", 11), "killed", "SIGSEGV"),
    "os_exit": (Quit("os_exit", 3), "exit_code", None),
}
NORMAL = ("normal", "shutdown")


def test_restart_type_and_exit_decide_together(run):
    """A03: permanent always, transient after an abnormal exit only, temporary never and its spec is gone."""

    async def main():
        async with Supervisor(nats="off") as sup:
            cells = [(type, way) for type in ("permanent", "transient", "temporary") for way in WAYS]
            refs = await asyncio.gather(
                *(sup.spawn(Obedient, name=f"{type}-{way}", restart={"type": type, **QUICK}, mailbox=ONCE) for type, way in cells)
            )
            pids = {row["name"]: row["pid"] for row in sup.children()}
            await asyncio.gather(*(ref.tell(WAYS[way][0]) for ref, (_, way) in zip(refs, cells, strict=True)))
            for type, way in cells:
                name = f"{type}-{way}"
                if type == "temporary":
                    await eventually(lambda name=name: name not in states(sup))
                    with pytest.raises(UnknownAgent):
                        sup.agent(name)
                    continue
                if type == "permanent" or way not in NORMAL:
                    assert (await up_again(sup, name, pids[name]))["restarts"] == 1
                else:
                    assert (await in_state(sup, name, "stopped"))["restarts"] == 0
                last = row(sup, name)["last_exit"]
                assert (last["reason"], last["signal"]) == WAYS[way][1:], name
            assert counts(sup) == (12, 10)
            text = (await why(sup, "transient-os_exit"))[-1]
            assert text["exit_code"] == 3
            assert text["decision"] == "exit code; restart at once: first death in 30s"

    run(main())


@pytest.mark.parametrize(("code", "state", "restarts"), [(42, "stopped", 0), (43, "running", 1)])
def test_an_exit_code_can_be_declared_normal(run, code, state, restarts):
    """A04"""

    async def main():
        async with Supervisor(nats="off") as sup:
            rule = {"type": "transient", "exit_ok": [0, 42]}
            a = await sup.spawn(Obedient, name="a", restart=rule, mailbox=ONCE)
            pid = await a.ask(Pid())
            await a.tell(Quit("exit", code))
            await eventually(lambda: row(sup, "a")["pid"] != pid and row(sup, "a")["state"] == state)
            assert row(sup, "a")["restarts"] == restarts

    run(main())


def test_with_a_limit_of_zero_no_second_process_is_ever_made(run, journal):
    """A05: the limit is per child, so that the child has failed and its sibling lives."""

    async def main():
        async with Supervisor(nats="off") as sup:
            await sup.spawn(Obedient, name="a", args={"journal": str(journal)}, restart={"max_restarts": 0})
            await sup.spawn(Obedient, name="b")
            await kill(sup, "a")
            await in_state(sup, "a", "failed")
            await sup.agent("b").ask(Pid())
            assert states(sup) == {"a": "failed", "b": "running"}
            assert journal.lines == ["a start"]
            assert (await why(sup, "a"))[-1]["decision"] == "killed; failed: 1 death in 30s, limit 0"

    run(main())


def test_failed_starts_count_like_deaths(run, journal, folder):
    """A07: after one death exactly four attempts; the child has failed, its sibling lives."""

    async def main():
        async with Supervisor(nats="off") as sup:
            cure = folder / "cure"
            cure.touch()
            args = {"cure": str(cure), "journal": str(journal)}
            await sup.spawn(Stillborn, name="a", args=args, restart={"max_restarts": 4, "window": "1h", **QUICK})
            await sup.spawn(Obedient, name="b")
            cure.unlink()
            await kill(sup, "a")
            await in_state(sup, "a", "failed")
            assert journal.lines == ["a start", *["a refuse"] * 4]
            assert row(sup, "b")["restarts"] == 0
            exits = await why(sup, "a")
            assert [exit["reason"] for exit in exits] == ["killed", *["start_failed"] * 4]
            assert "RuntimeError: stillborn" in exits[-1]["traceback"]
            cure.touch()
            assert (await control(sup, "start", "a"))[0]["state"] == "running"  # `start` revives, with the window cleared
            assert sup.driver.core.view("a/0").deaths == 0

    run(main())


@pytest.mark.parametrize(
    ("how", "word"),
    [("raise", "RuntimeError: stillborn"), ("exit", "exit code 3"), ("hang", "start.timeout")],
)
def test_an_agent_that_does_not_start_says_how(run, how, word):
    """A19: our grace period is the time until the agent is ready."""

    async def main():
        async with Supervisor(nats="off") as sup:
            with pytest.raises(StartFailed, match=word):
                await sup.spawn(Stillborn, name="a", args={"how": how}, start_timeout="300ms")
            assert sup.children() == []
            await sup.spawn(Obedient, name="other")
            cured = await sup.spawn(Slow, name="a", args={"start": 0.1})
            assert await cured.ask(Pid())

    run(main())


def test_commands_cost_nothing_of_the_limit(run):
    """A08"""

    async def main():
        async with Supervisor(nats="off", max_restarts=1) as sup:
            a = await sup.spawn(Obedient, name="a", restart={"max_restarts": 1})
            pids = set()
            for _ in range(15):
                await a.restart()
                pids.add(await a.ask(Pid()))
                await a.stop()
                assert row(sup, "a")["state"] == "stopped"
                await control(sup, "start", "a")
                pids.add(await a.ask(Pid()))
                await control(sup, "kill", "a")
                pids.add((await in_state(sup, "a", "running"))["pid"])
            assert len(pids) == 45
            assert sup.driver.core.view("a/0").deaths == 0

    run(main())


def test_the_first_restart_is_at_once_and_the_next_ones_wait_longer_each_time(run):
    """A14: in front of the series of waits stands a restart at once."""

    async def main():
        async with Supervisor(nats="off") as sup:
            rule = {"backoff": "20ms", "backoff_max": "80ms", "jitter": 0.0, "max_restarts": 6}
            await sup.spawn(Obedient, name="a", restart=rule)
            for _ in range(5):
                await kill_and_wait(sup, "a")
            decisions = [exit["decision"].partition("; ")[2] for exit in await why(sup, "a")]
            assert [text.partition(" (")[0] for text in decisions] == [
                "restart at once: first death in 30s",
                *(f"restart in {wait}" for wait in ("20ms", "40ms", "80ms", "80ms")),
            ]

    run(main())


def test_why_keeps_the_last_ten_deaths_each_with_its_rule(run):
    async def main():
        async with Supervisor(nats="off") as sup:
            await sup.spawn(Obedient, name="a", restart={"max_restarts": 50, **QUICK})
            pids = [await kill(sup, "a")]
            for _ in range(12):
                await up_again(sup, "a", pids[-1])
                pids.append(await kill(sup, "a"))
            await up_again(sup, "a", pids[-1])
            exits = await why(sup, "a")
            assert [exit["pid"] for exit in exits] == pids[-10:]
            assert [exit["incarnation"] for exit in exits] == list(range(4, 14))
            for exit in exits:
                assert (exit["reason"], exit["signal"]) == ("killed", "SIGKILL")
                assert re.fullmatch(r"killed; restart in \d+ms \(\d+ of 50 deaths in 30s\)", exit["decision"])
                assert exit["uptime_s"] >= 0
                assert "its memory peaked at" in exit["detail"]
            info = await sup.agent("a").info()
            assert info["last_exit"]["reason"] == "killed"
            assert info["restarts"] == 13

    run(main())


@pytest.mark.parametrize(
    ("how", "code", "expected"),
    [
        ("stop", 0, ("normal", None, None)),
        ("exit", 7, ("exit_code", 7, None)),
        ("os_exit", 9, ("exit_code", 9, None)),
        ("raise", 0, ("crashed", 1, None)),
        ("signal", 11, ("killed", None, "SIGSEGV")),
    ],
)
def test_an_agent_that_quits_by_itself_says_how(run, how, code, expected):
    """B17: and its end is seen at once, not at the next look."""

    async def main():
        async with Supervisor(nats="off") as sup:
            await sup.spawn(
                Quitter, name="a", args={"how": how, "code": code, "after": 0.05}, restart={"max_restarts": 0}, mailbox=ONCE
            )
            (exit,) = await eventually(lambda: sup.driver.members["a/0"].exits if "a/0" in sup.driver.members else None)
            reason, exit_code, signal = expected
            assert (exit.reason, exit.signal) == (reason, signal)
            if reason == "exit_code":
                assert exit.exit_code == exit_code
            if how == "raise":
                assert "RuntimeError: told to quit" in exit.traceback

    run(main())
