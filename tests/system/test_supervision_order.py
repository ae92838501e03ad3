"""Start and stop: in which order, how long, and what becomes of those who do not want to."""

import asyncio
import json
import os
import signal
import time

import pytest
from supervised import (
    QUICK,
    control,
    eventually,
    in_state,
    is_alive,
    kill,
    kill_and_wait,
    row,
    states,
    why,
)

from actorsys import AgentDown, Supervisor
from actorsys.testing.children import Deaf, Forker, Obedient, Offspring, Pid, Quit, Slow
from actorsys.testing.waiting import until

TYPE = 'type = "actorsys.testing.children:{}"\n'


def toml(folder, agents, *, supervisor=""):
    """Write an agents.toml; `agents` maps a name to its class and further lines."""
    text = f'[nats]\nmode = "off"\n[supervisor]\n{supervisor}\n'
    for name, (cls, more) in agents.items():
        text += f"[agents.{name}]\n{TYPE.format(cls)}{more}\n"
    path = folder / "agents.toml"
    path.write_text(text)
    return path


def test_start_in_the_order_of_the_file_and_stop_in_reverse(run, folder, journal):
    """B01"""
    names = ["z", "m", "a", "q", "b"]
    agents = dict.fromkeys(names, ("Obedient", f'args = {{ journal = "{journal}" }}'))

    async def main():
        async with Supervisor.from_toml(toml(folder, agents, supervisor='strategy = "rest_for_one"')) as sup:
            await eventually(lambda: set(states(sup).values()) == {"running"})
            await kill(sup, "a")
            await eventually(lambda: len(journal.lines) == 5 + 2 + 3)

    run(main())
    up, again, down = journal.lines[:5], journal.lines[5:10], journal.lines[10:]
    assert [line.split()[0] for line in again] == ["b", "q", "a", "q", "b"]
    assert down == [f"{name} stop" for name in reversed(names)]
    assert sorted(up) == sorted(f"{name} start" for name in names)


def test_who_does_not_start_keeps_only_those_back_who_need_it(run, folder, journal):
    """B02: OTP would end everything; here the child has failed with its traceback, and the others run."""
    args = f'args = {{ journal = "{journal}" }}'
    agents = {
        "one": ("Obedient", args),
        "two": ("Obedient", args),
        "three": ("Stillborn", f'{args}\nrestart = {{ max_restarts = 1, backoff = "1ms" }}'),
        "four": ("Obedient", f'{args}\ndepends_on = ["three"]'),
    }

    async def main():
        async with Supervisor.from_toml(toml(folder, agents)) as sup:
            await in_state(sup, "three", "failed")
            await in_state(sup, "one", "running")
            await in_state(sup, "two", "running")
            assert states(sup)["four"] == "waiting"
            assert "three" in row(sup, "four")["note"]
            assert "RuntimeError: stillborn" in (await why(sup, "three"))[-1]["traceback"]

    run(main())
    assert not any(line.startswith("four") for line in journal.lines)


def test_who_does_not_stop_in_time_is_killed_and_the_others_are_not(run, journal):
    """B03"""

    async def main():
        sup = Supervisor(nats="off")
        await sup.start()
        await sup.spawn(Slow, name="quick", args={"journal": str(journal)}, stop_timeout="1s")
        await sup.spawn(Slow, name="asleep", args={"journal": str(journal), "stop": 200}, stop_timeout="1s")
        members = dict(sup.driver.members)
        began = time.monotonic()
        await sup.stop()
        assert 0.9 < time.monotonic() - began < 5
        assert members["quick/0"].exits[-1].reason == "shutdown"
        last = members["asleep/0"].exits[-1]
        assert (last.reason, last.signal, last.detail) == ("killed", "SIGKILL", "it did not stop in time")
        assert await sup.wait_stopped() == 0

    run(main())
    assert sorted(journal.lines[2:]) == ["asleep asked", "quick asked", "quick stop"]


def test_with_no_time_to_stop_it_is_killed_unasked(run, journal):
    """B04"""

    async def main():
        async with Supervisor(nats="off") as sup:
            a = await sup.spawn(Slow, name="a", args={"journal": str(journal)}, stop_timeout=0)
            await a.stop()
            assert row(sup, "a")["last_exit"]["signal"] == "SIGKILL"

    run(main())
    assert journal.lines == ["a start"]


def test_with_time_enough_it_is_never_killed(run, journal):
    """B05"""

    async def main():
        async with Supervisor(nats="off") as sup:
            await sup.spawn(Slow, name="a", args={"journal": str(journal), "stop": 1.5}, stop_timeout="1h")

    run(main())
    assert journal.lines == ["a start", "a asked", "a stop"]


def test_the_supervisor_does_not_wait_for_dynamic_children_one_after_another(run):
    """B06"""

    async def main():
        sup = Supervisor(nats="off")
        await sup.start()
        for number in range(8):
            await sup.spawn(Slow, name=f"a{number}", args={"stop": 0.5})
        began = time.monotonic()
        await sup.stop()
        assert time.monotonic() - began < 2

    run(main())


def test_a_stop_that_races_with_a_death_reports_the_true_reason(run):
    """B08"""
    reasons = set()

    async def main():
        async with Supervisor(nats="off") as sup:
            rule = {"max_restarts": 10_000, **QUICK}
            a = await sup.spawn(Obedient, name="a", restart=rule, mailbox={"max_deliveries": 1})
            for number in range(80):
                pid = await a.ask(Pid())
                if number % 2:
                    await a.tell(Quit("os_exit", 7))
                else:
                    os.kill(pid, signal.SIGSEGV)
                if number % 3:
                    await asyncio.sleep(0)
                await a.stop()
                assert row(sup, "a")["state"] == "stopped"
                last = row(sup, "a")["last_exit"]
                reasons.add((last["reason"], last["exit_code"], last["signal"]))
                await control(sup, "start", "a")

    run(main())
    assert reasons <= {("exit_code", 7, None), ("killed", None, "SIGSEGV"), ("shutdown", 0, None)}, reasons
    assert len(reasons) > 1


@pytest.mark.parametrize("how", ["stop", "child"])
def test_a_deaf_agent_is_gone_in_time_and_nobody_waits_for_it(run, how):
    """B09"""

    async def main():
        async with Supervisor(nats="off") as sup:
            deaf = await sup.spawn(Deaf, name="deaf", args={"how": how}, stop_timeout="1s")
            other = await sup.spawn(Obedient, name="other")
            began = time.monotonic()
            stop = asyncio.ensure_future(deaf.stop())
            answers = 0
            while not stop.done():
                assert await other.ask(Pid(), timeout=1.0)
                answers += 1
            await stop
            assert 0.9 < time.monotonic() - began < 3
            assert answers > 20
            assert row(sup, "deaf")["state"] == "stopped"

    run(main())


def test_an_agent_that_closes_its_pipe_is_replaced_and_says_it_was_killed(run):
    """B09"""

    async def main():
        async with Supervisor(nats="off") as sup:
            deaf = await sup.spawn(Deaf, name="deaf", args={"how": "pipe"}, mailbox={"max_deliveries": 1}, stop_timeout="50ms")
            pid = await deaf.ask(Pid())
            await deaf.tell(Quit())
            assert await deaf.ask(Pid(), timeout=20) != pid
            last = row(sup, "deaf")["last_exit"]
            assert (last["reason"], last["signal"]) == ("killed", "SIGKILL")
            assert last["detail"] == "it closed its connection to the supervisor"

    run(main())


def test_whatever_an_agent_started_goes_with_it(run):
    """B12: in its group, in a session of its own, or forked twice."""

    async def main():
        async with Supervisor(nats="off") as sup:
            forker = await sup.spawn(Forker, name="forker", args={"kinds": ["plain", "session", "daemon"]})
            for end in (lambda: kill_and_wait(sup, "forker"), forker.restart, forker.stop):
                pids = await forker.ask(Offspring())
                assert len(pids) == 3
                assert all(map(is_alive, pids))
                await end()
                assert not any(map(is_alive, pids))

    run(main())


def test_a_stop_while_it_waits_for_another_means_that_it_never_starts(run, folder, journal):
    """B14"""
    agents = {
        "store": ("Stillborn", f'args = {{ how = "hang", cure = "{folder / "cure"}" }}\nstart_timeout = "1h"'),
        "shop": ("Obedient", f'args = {{ journal = "{journal}" }}\ndepends_on = ["store"]'),
    }

    async def main():
        async with Supervisor.from_toml(toml(folder, agents)) as sup:
            await in_state(sup, "store", "starting")
            assert states(sup)["shop"] == "waiting"
            await control(sup, "stop", "shop")
            assert states(sup)["shop"] == "stopped"
            (folder / "cure").touch()
            await control(sup, "restart", "store")
            assert states(sup) == {"store": "running", "shop": "stopped"}
            assert journal.lines == []
            await control(sup, "start", "shop")
            assert journal.lines == ["shop start"]

    run(main())


def test_a_dependant_starts_only_when_the_other_is_ready_even_if_that_had_to_start_twice(run, folder, journal):
    """B15"""
    args = f'args = {{ journal = "{journal}", cure = "{folder / "cure"}" }}\nrestart = {{ backoff = "1ms" }}'
    agents = {
        "shop": ("Obedient", f'args = {{ journal = "{journal}" }}\ndepends_on = ["store"]'),
        "store": ("Stillborn", args),
    }

    async def main():
        async with Supervisor.from_toml(toml(folder, agents)) as sup:
            await eventually(lambda: journal.lines)
            (folder / "cure").touch()
            await in_state(sup, "shop", "running")

    run(main())
    started = [line for line in journal.lines if line.endswith(("start", "refuse"))]
    assert started[-2:] == ["store start", "shop start"]
    assert set(started[:-2]) == {"store refuse"}


def test_sigterm_stops_in_order_and_a_second_one_kills(node, journal):
    """B16"""
    toml(node.folder, {"slow": ("Slow", f'args = {{ journal = "{journal}", stop = 0.3 }}')})
    node.supervise()
    (slow,) = node.wait_all()
    assert os.getsid(slow["pid"]) != os.getsid(node.process.pid)  # Ctrl-C in a terminal reaches it only through its supervisor
    assert node.interrupt(signal.SIGTERM) == 0
    assert journal.lines == ["slow start", "slow asked", "slow stop"]
    toml(node.folder, {"deaf": ("Deaf", 'stop_timeout = "1h"')})
    node.supervise()
    (deaf,) = node.wait_all()
    node.process.send_signal(signal.SIGTERM)
    node.wait_output("once more kills everything")
    assert node.interrupt(signal.SIGTERM) != 0
    until(lambda: not is_alive(deaf["pid"]))


@pytest.mark.parametrize("how", ["exit", "os_exit"])
def test_a_process_that_exits_is_seen_at_once(run, how):
    """B17: not at the next look of some poll. A fast machine needs 10 ms to have the next one ready."""

    async def main():
        async with Supervisor(nats="off") as sup:
            a = await sup.spawn(Obedient, name="a", mailbox={"max_deliveries": 1}, restart={"max_restarts": 99, **QUICK})
            await a.ask(Pid())
            taken = []
            for _ in range(5):
                began = time.monotonic()
                await a.tell(Quit(how, 1))
                with pytest.raises(AgentDown):
                    await a.ask(Pid(), when_down="fail")
                taken.append(time.monotonic() - began)
                await a.ask(Pid())
            assert min(taken) < 0.1
            assert json.dumps(sup.children())  # what `ps` shows can always be told

    run(main())
