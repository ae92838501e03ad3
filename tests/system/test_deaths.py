"""Agents die in every way; their mail, their state and their siblings do not."""

import asyncio
import os
import random
import re
import signal

import pytest
from system_agents import (
    Add,
    BadStart,
    Counter,
    Diary,
    Die,
    Exit,
    Lose,
    Note,
    Notes,
    Pid,
    Raise,
    SlowStart,
    Total,
)

from actorsys import AgentDown, MailboxFull, RemoteError, StartFailed, Supervisor
from actorsys.testing.waiting import eventually

# Deaths that are not the message's fault, and come often.
OFTEN = {
    "restart": {"max_restarts": 100, "window": "10s", "backoff": "1ms", "backoff_max": "5ms"},
    "mailbox": {"max_deliveries": 100},
}


def row(sup, name):
    return next(row for row in sup.children() if row["name"] == name)


async def kill(sup, name):
    """SIGKILL the agent's process once it runs; its pid."""
    pid = await eventually(lambda: row(sup, name)["state"] == "running" and row(sup, name)["pid"])
    os.kill(pid, signal.SIGKILL)
    return pid


async def up_again(sup, name, pid):
    await eventually(lambda: row(sup, name)["state"] == "running" and row(sup, name)["pid"] != pid)


@pytest.mark.parametrize("memory", ["sqlite"])
def test_200_asks_while_the_agent_is_killed_ten_times_are_all_answered_once_and_in_order(run_on_either, memory):
    async def main():
        async with Supervisor() as sup:
            counter = await sup.spawn(Counter, name="counter", memory=memory, **OFTEN)
            asks = [asyncio.ensure_future(counter.ask(Add(1, seconds=0.004), timeout=50)) for _ in range(200)]
            order = []
            for number, ask in enumerate(asks):
                ask.add_done_callback(lambda _, number=number: order.append(number))
            chance = random.Random(7)
            for _ in range(10):
                done = len(order)
                wanted = min(done + chance.randrange(12), 199)
                await eventually(lambda wanted=wanted: len(order) >= wanted)
                pid = await kill(sup, "counter")
                await up_again(sup, "counter", pid)
            answers = await asyncio.gather(*asks)
            assert answers == list(range(1, 201))
            assert order == list(range(200))
            assert await counter.ask(Total()) == 200
            assert row(sup, "counter")["restarts"] == 10
            assert row(sup, "counter")["dead_letters"] == 0

    run_on_either(main())


def test_kills_at_random_moments_of_fast_handlers_count_nothing_twice(run):
    async def main():
        async with Supervisor() as sup:
            counter = await sup.spawn(Counter, name="counter", memory="sqlite", **OFTEN)
            chance = random.Random(11)

            async def killer():
                for _ in range(10):
                    pid = await kill(sup, "counter")
                    await up_again(sup, "counter", pid)
                    await asyncio.sleep(chance.uniform(0, 0.02))

            killing = asyncio.ensure_future(killer())
            answers = []
            while not killing.done():
                answers += await asyncio.gather(*(counter.ask(Add(1), timeout=50) for _ in range(50)))
            await killing
            assert answers == list(range(1, len(answers) + 1))
            assert row(sup, "counter")["dead_letters"] == 0

    run(main())


def test_tells_keep_their_order_across_kills_and_none_is_handled_twice(run):
    async def main():
        async with Supervisor() as sup:
            diary = await sup.spawn(Diary, name="diary", memory="sqlite", **OFTEN)
            texts = [str(number) for number in range(300)]
            for number, text in enumerate(texts):
                await diary.tell(Note(text))
                if number % 30 == 29:
                    await up_again(sup, "diary", await kill(sup, "diary"))
            assert await diary.ask(Notes(), timeout=50) == texts

    run(main())


def test_a_killed_agent_is_back_with_its_count_and_why_tells_the_signal(run):
    async def main():
        async with Supervisor() as sup:
            counter = await sup.spawn(Counter, name="counter", memory="sqlite")
            assert await counter.ask(Add(2)) == 2
            pid = await kill(sup, "counter")
            assert await counter.ask(Add(2)) == 4
            now = await counter.info()
            assert (now["restarts"], now["state"]) == (1, "running")
            assert now["pid"] != pid
            assert {key: now["last_exit"][key] for key in ("reason", "signal", "exit_code")} == {
                "reason": "killed",
                "signal": "SIGKILL",
                "exit_code": None,
            }

    run(main())


def test_siblings_do_not_notice(run):
    async def main():
        async with Supervisor() as sup:
            one = await sup.spawn(Counter, name="one")
            two = await sup.spawn(Counter, name="two")
            before = await two.ask(Pid())
            await two.ask(Add(3))
            await up_again(sup, "one", await kill(sup, "one"))
            assert await one.ask(Total()) == 0
            assert (await two.ask(Pid()), await two.ask(Total())) == (before, 3)

    run(main())


def test_an_exception_in_an_ask_answers_the_asker_and_the_agent_lives(run):
    async def main():
        async with Supervisor() as sup:
            counter = await sup.spawn(Counter, name="counter")
            pid = await counter.ask(Pid())
            with pytest.raises(RemoteError, match="ValueError: 5 is lost") as caught:
                await counter.ask(Lose(5))
            assert caught.value.type == "ValueError"
            assert "system_agents.py" in caught.value.traceback
            assert await counter.ask(Pid()) == pid

    run(main())


@pytest.mark.parametrize("memory", ["in_memory", "sqlite"])
def test_state_rolls_back_on_an_exception(run, memory):
    async def main():
        async with Supervisor() as sup:
            counter = await sup.spawn(Counter, name="counter", memory=memory)
            await counter.ask(Add(1))
            with pytest.raises(RemoteError):
                await counter.ask(Lose(5))
            assert await counter.ask(Total()) == 1
            assert await counter.state() == {"total": 1}

    run(main())


def test_an_exception_in_a_tell_dead_letters_it_and_restarts_the_agent(run, caplog):
    async def main():
        async with Supervisor() as sup:
            counter = await sup.spawn(Counter, name="counter", memory="sqlite")
            await counter.ask(Add(1))
            pid = await counter.ask(Pid())
            await counter.tell(Raise("no luck today"))
            await up_again(sup, "counter", pid)
            assert await counter.ask(Total()) == 1
            now = await counter.info()
            assert (now["restarts"], now["dead_letters"], now["last_exit"]["reason"]) == (1, 1, "crashed")
            assert "ValueError: no luck today" in now["last_exit"]["traceback"]

    run(main())
    assert re.search(r"dead letter: Raise from .* to counter: ValueError: no luck today", caplog.text)


@pytest.mark.parametrize(("on_error", "restarts", "state"), [("resume", 0, "running"), ("restart", 1, "running")])
def test_on_error_decides_about_a_failed_tell(run, on_error, restarts, state):
    async def main():
        async with Supervisor() as sup:
            counter = await sup.spawn(Counter, name="counter", on_error=on_error)
            await counter.tell(Raise())
            await eventually(lambda: row(sup, "counter")["dead_letters"])
            await eventually(lambda: row(sup, "counter")["restarts"] == restarts)
            assert await counter.ask(Total()) == 0
            assert row(sup, "counter")["state"] == state

    run(main())


def test_on_error_restart_answers_the_asker_and_ends_the_process(run):
    async def main():
        async with Supervisor() as sup:
            counter = await sup.spawn(Counter, name="counter", on_error="restart")
            pid = await counter.ask(Pid())
            with pytest.raises(RemoteError, match="5 is lost"):
                await counter.ask(Lose(5))
            await up_again(sup, "counter", pid)

    run(main())


def test_on_error_stop_ends_the_agent_whatever_its_restart_type(run):
    async def main():
        async with Supervisor() as sup:
            counter = await sup.spawn(Counter, name="counter", on_error="stop")
            await counter.tell(Raise())
            await eventually(lambda: row(sup, "counter")["state"] == "stopped")
            assert row(sup, "counter")["dead_letters"] == 1

    run(main())


@pytest.mark.parametrize(("code", "reason"), [(0, "normal"), (3, "exit_code")])
def test_sys_exit_in_a_handler_ends_the_process_and_rolls_back(run, code, reason):
    async def main():
        async with Supervisor() as sup:
            counter = await sup.spawn(Counter, name="counter", memory="sqlite", mailbox={"max_deliveries": 1})
            await counter.ask(Add(1))
            pid = await counter.ask(Pid())
            await counter.tell(Exit(code))
            await up_again(sup, "counter", pid)
            assert await counter.ask(Total()) == 1
            now = await counter.info()
            assert (now["last_exit"]["reason"], now["last_exit"]["exit_code"], now["dead_letters"]) == (reason, code, 1)

    run(main())


def test_the_message_that_kills_is_quarantined_and_those_behind_it_lose_nothing(run, caplog):
    async def main():
        async with Supervisor() as sup:
            diary = await sup.spawn(Diary, name="diary", memory="sqlite", restart=OFTEN["restart"])
            for text in ("a", "b"):
                await diary.tell(Note(text))
            await diary.tell(Die())
            for text in ("c", "d"):
                await diary.tell(Note(text))
            assert await diary.ask(Notes(), timeout=30) == ["a", "b", "c", "d"]
            now = await diary.info()
            assert now["dead_letters"] == 1
            assert now["restarts"] in (3, 4)  # the first death may have had others out, too
            assert (await sup._commands("why", {"name": "diary"}))["exits"][-1]["message"].startswith("Die #")

    run(main())
    assert re.search(r"dead letter: Die from .* to diary: killed 'diary' 3 times: killed by SIGKILL", caplog.text)


def test_a_poison_message_counts_as_one_death_for_the_limit(run):
    async def main():
        async with Supervisor() as sup:
            restart = {"max_restarts": 2, "backoff": "1ms", "backoff_max": "5ms"}
            diary = await sup.spawn(Diary, name="diary", memory="sqlite", restart=restart)
            await diary.tell(Die())
            await diary.tell(Note("a"))
            assert await diary.ask(Notes(), timeout=30) == ["a"]

    run(main())


def test_asks_wait_while_the_agent_restarts(run, folder):
    async def main():
        async with Supervisor() as sup:
            slow = await sup.spawn(SlowStart, name="slow", memory="sqlite", args={"path": str(folder / "go")})
            pid = await slow.ask(Pid())
            os.kill(pid, signal.SIGKILL)
            await eventually(lambda: row(sup, "slow")["state"] == "starting")
            ask = asyncio.ensure_future(slow.ask(Pid()))
            with pytest.raises(AgentDown) as caught:
                await slow.ask(Pid(), when_down="fail")
            assert caught.value.may_have_run is False
            assert not ask.done()
            (folder / "go").touch()
            assert await ask not in (pid, None)

    run(main())


def test_an_ask_that_does_not_wait_fails_when_the_agent_dies_in_its_handler(run):
    async def main():
        async with Supervisor() as sup:
            counter = await sup.spawn(Counter, name="counter")
            await counter.ask(Pid())
            asks = [asyncio.ensure_future(counter.ask(Add(1, seconds=60), when_down="fail")) for _ in range(3)]
            await eventually(lambda: row(sup, "counter")["in_flight"] == 3)
            await kill(sup, "counter")
            for ask in asks:
                with pytest.raises(AgentDown) as caught:
                    await ask
                assert caught.value.may_have_run is True
                assert "SIGKILL" in caught.value.reason

    run(main())


def test_beyond_its_limit_an_agent_has_failed_and_askers_are_told(run):
    async def main():
        async with Supervisor() as sup:
            counter = await sup.spawn(Counter, name="counter", restart={"max_restarts": 0})
            other = await sup.spawn(Counter, name="other")
            ask = asyncio.ensure_future(counter.ask(Add(1, seconds=60)))
            await eventually(lambda: row(sup, "counter")["in_flight"])
            await kill(sup, "counter")
            with pytest.raises(AgentDown) as caught:
                await ask
            assert caught.value.may_have_run is True
            with pytest.raises(AgentDown) as caught:
                await counter.ask(Total())
            assert caught.value.may_have_run is False
            assert row(sup, "counter")["state"] == "failed"
            assert await other.ask(Total()) == 0

    run(main())


def test_an_agent_that_fails_in_on_start_is_an_error_of_spawn_with_the_traceback(run):
    async def main():
        async with Supervisor() as sup:
            with pytest.raises(StartFailed, match="cannot start today") as caught:
                await sup.spawn(BadStart, name="bad")
            assert "RuntimeError: cannot start today" in caught.value.traceback
            assert sup.children() == []
            assert await (await sup.spawn(Counter, name="bad")).ask(Total()) == 0

    run(main())


def test_a_full_mailbox_of_a_dead_agent_is_worked_off_after_its_restart(run, folder):
    async def main():
        async with Supervisor() as sup:
            slow = await sup.spawn(
                SlowStart,
                name="slow",
                memory="sqlite",
                args={"path": str(folder / "go")},
                mailbox={"size": 4, "overflow": "reject"},
            )
            pid = await slow.ask(Pid())
            os.kill(pid, signal.SIGKILL)
            await eventually(lambda: row(sup, "slow")["state"] == "starting")
            asks = [asyncio.ensure_future(slow.ask(Pid())) for _ in range(4)]
            await eventually(lambda: row(sup, "slow")["mailbox"] == 4)
            with pytest.raises(MailboxFull):
                await slow.ask(Pid())
            (folder / "go").touch()
            assert len(set(await asyncio.gather(*asks))) == 1

    run(main())
