"""Messages between a host and its agents, and between agents."""

import asyncio
import logging
import os
import signal

import pytest
from system_agents import (
    Add,
    Clock,
    Counter,
    Die,
    Exit,
    Flood,
    Friend,
    Gate,
    Last,
    Log,
    Meet,
    Meeting,
    Note,
    Notes,
    Pid,
    Plain,
    Print,
    Relay,
    Round,
    Total,
)

from actorsys import AskCycle, AskTimeout, BadMessage, ConfigError, Event, MailboxFull, Request, Supervisor, UnknownAgent
from actorsys.testing.waiting import eventually


class Unfit(Request[int]):
    """A message that no agent here takes."""


class WrongAdd(Event):
    n: str


def row(sup, name):
    return next(row for row in sup.children() if row["name"] == name)


async def stays(condition, times=20):
    """Whether it holds through some turns of the mail."""
    for _ in range(times):
        assert condition()
        await asyncio.sleep(0.005)


def test_ask_and_tell(run_on_either):
    async def main():
        async with Supervisor() as sup:
            counter = await sup.spawn(Counter, name="counter")
            await counter.tell(Add(1))
            assert await counter.ask(Add(2)) == 3
            assert await counter.state() == {"total": 3}
            assert sup.agent("counter") == counter

    run_on_either(main())


def test_an_agent_may_be_named_by_path(run):
    async def main():
        async with Supervisor() as sup:
            counter = await sup.spawn("system_agents:Counter", name="counter")
            assert await counter.ask(Add(2)) == 2

    run(main())


def test_in_a_fresh_interpreter_it_works_the_same(run):
    async def main():
        async with Supervisor() as sup:
            counter = await sup.spawn(Counter, name="counter", memory="sqlite", launch="fresh")
            assert await counter.ask(Add(2)) == 2
            os.kill(row(sup, "counter")["pid"], signal.SIGKILL)
            assert await counter.ask(Add(2)) == 4

    run(main())


def test_agents_ask_and_tell_each_other_by_name(run):
    async def main():
        async with Supervisor() as sup:
            counter = await sup.spawn(Counter, name="counter")
            friend = await sup.spawn(Friend, name="friend")
            assert await friend.ask(Relay("counter", 5)) == 5
            assert await counter.ask(Total()) == 10

    run(main())


def test_an_unknown_agent_is_an_error_with_the_nearest_name(run):
    async def main():
        async with Supervisor() as sup:
            await sup.spawn(Counter, name="counter")
            friend = await sup.spawn(Friend, name="friend")
            with pytest.raises(UnknownAgent, match=r"Did you mean 'counter'\?"):
                sup.agent("conter")
            with pytest.raises(UnknownAgent, match=r"Did you mean 'counter'\?"):
                await friend.ask(Relay("conter", 5))

    run(main())


def test_a_name_in_use_is_refused(run):
    async def main():
        async with Supervisor() as sup:
            await sup.spawn(Counter, name="counter")
            with pytest.raises(ConfigError, match="exists already"):
                await sup.spawn(Counter, name="counter")

    run(main())


@pytest.mark.parametrize("options", [{"replcas": 2}, {"restart": {"type": "sometimes"}}, {"stop_timeout": "soon"}])
def test_a_wrong_option_is_refused_and_nothing_is_started(run, options):
    async def main():
        async with Supervisor() as sup:
            with pytest.raises(ConfigError):
                await sup.spawn(Counter, name="counter", **options)
            assert sup.children() == []

    run(main())


def test_an_ask_cycle_is_an_error_that_names_the_chain(run):
    async def main():
        async with Supervisor() as sup:
            for name in ("a", "b", "c"):
                await sup.spawn(Friend, name=name)
            assert await sup.agent("a").ask(Round(["b", "c"])) == "c"
            with pytest.raises(AskCycle, match="a -> b -> c -> a") as caught:
                await sup.agent("a").ask(Round(["b", "c", "a"]))
            assert caught.value.chain == ["a", "b", "c", "a"]
            with pytest.raises(AskCycle):
                await sup.agent("a").ask(Round(["a"]))

    run(main())


def test_with_a_free_handler_a_cycle_is_none(run):
    async def main():
        async with Supervisor() as sup:
            await sup.spawn(Friend, name="a", concurrency=2)
            await sup.spawn(Friend, name="b")
            assert await sup.agent("a").ask(Round(["b", "a"])) == "a"

    run(main())


def test_a_message_that_does_not_fit_never_crashes_an_agent(run):
    async def main():
        async with Supervisor() as sup:
            counter = await sup.spawn(Counter, name="counter")
            pid = await counter.ask(Pid())
            with pytest.raises(BadMessage, match="takes no Unfit"):
                await counter.ask(Unfit())
            with pytest.raises(BadMessage, match="takes no ad; did you mean Add") as caught:
                await counter.ask({"type": "ad", "n": 2})
            assert caught.value.field == "type"
            with pytest.raises(BadMessage) as caught:
                await counter.ask({"type": "Add", "n": "two"})
            assert caught.value.field == "n"
            with pytest.raises(BadMessage):
                await counter.ask("hello")
            with pytest.raises(BadMessage):
                await counter.ask({"type": 5})
            with pytest.raises(BadMessage, match="cannot be sent"):
                await counter.tell(object())
            await counter.tell({"type": "Add", "n": None})
            await counter.tell(Unfit())
            assert await counter.ask({"type": "Add", "n": 2}) == 2
            assert await counter.ask(Pid()) == pid
            assert row(sup, "counter")["dead_letters"] == 2

    run(main())


def test_receive_takes_whatever_no_handler_takes(run):
    async def main():
        async with Supervisor() as sup:
            plain = await sup.spawn(Plain, name="plain")
            for payload in ("hello", {"a": [1, None]}, [1, 2], 7, None):
                assert await plain.ask(payload) == {"got": payload, "from": "$host"}

    run(main())


def test_an_ask_times_out_with_an_error_that_says_who_did_not_answer(run):
    async def main():
        async with Supervisor() as sup:
            counter = await sup.spawn(Counter, name="counter")
            with pytest.raises(AskTimeout, match="'counter' did not answer within 50ms"):
                await counter.ask(Add(1, seconds=0.3), timeout=0.05)

    run(main())


def test_a_cancelled_ask_stops_its_handler_and_rolls_back(run):
    async def main():
        async with Supervisor() as sup:
            counter = await sup.spawn(Counter, name="counter")
            ask = asyncio.ensure_future(counter.ask(Add(1, seconds=60), timeout=90))
            await eventually(lambda: row(sup, "counter")["in_flight"])
            ask.cancel()
            with pytest.raises(asyncio.CancelledError):
                await ask
            assert await counter.ask(Total(), timeout=20) == 0

    run(main())


@pytest.mark.parametrize(("concurrency", "meets"), [(2, True), (1, False)])
def test_concurrency_is_how_many_handlers_run_at_once(run, concurrency, meets):
    async def main():
        async with Supervisor() as sup:
            meeting = await sup.spawn(Meeting, name="meeting", concurrency=concurrency, stop_timeout="200ms")
            asks = [asyncio.ensure_future(meeting.ask(Meet(2), timeout=30 if meets else 0.3)) for _ in range(2)]
            answers = await asyncio.gather(*asks, return_exceptions=True)
            assert [answer == "met" for answer in answers] == [meets, meets]

    run(main())


def test_every_ticks_and_is_not_doubled_after_a_restart(run):
    async def main():
        async with Supervisor() as sup:
            clock = await sup.spawn(Clock, name="clock", args={"period": 0.05}, memory="sqlite")
            for _ in range(3):
                pid = await clock.ask(Pid())
                await until_ticks(clock, 2)
                os.kill(pid, signal.SIGKILL)
                await eventually(lambda pid=pid: row(sup, "clock")["pid"] not in (pid, None))
            loop = asyncio.get_running_loop()
            first, began = await clock.ask(Total()), loop.time()
            now = await until_ticks(clock, first + 10)
            assert loop.time() - began > (now - first - 2) * 0.05  # doubled, it would take half of that
            ticks = (await clock.state())["ticks"]
            assert ticks >= 3 * 2 + 10

    run(main())


async def until_ticks(clock, count):
    while (now := await clock.ask(Total())) < count:  # noqa: ASYNC110  # the agent sets no event of ours
        await asyncio.sleep(0.005)
    return now


def test_stop_keeps_the_mail_until_start(run):
    async def main():
        async with Supervisor() as sup:
            counter = await sup.spawn(Counter, name="counter", memory="sqlite")
            await counter.ask(Add(1))
            await counter.stop()
            assert row(sup, "counter")["state"] == "stopped"
            await counter.tell(Add(1))
            ask = asyncio.ensure_future(counter.ask(Add(1)))
            await eventually(lambda: row(sup, "counter")["mailbox"] == 2)
            await stays(lambda: row(sup, "counter")["state"] == "stopped" and not ask.done())
            assert await counter.state() == {"total": 1}
            await sup._commands("start", {"names": ["counter"]})
            assert await ask == 3

    run(main())


def test_restart_starts_a_new_process_and_charges_nobody(run):
    async def main():
        async with Supervisor() as sup:
            counter = await sup.spawn(Counter, name="counter", memory="sqlite", restart={"max_restarts": 0})
            await counter.ask(Add(1))
            pid = await counter.ask(Pid())
            await counter.restart()
            assert await counter.ask(Pid()) != pid
            assert await counter.ask(Total()) == 1

    run(main())


def test_on_stop_runs_with_the_reason(run, folder):
    async def main():
        async with Supervisor() as sup:
            one = await sup.spawn(Last, name="one", args={"path": str(folder / "one")})
            await sup.spawn(Last, name="two", args={"path": str(folder / "two")})
            three = await sup.spawn(Last, name="three", args={"path": str(folder / "three")}, restart={"type": "transient"})
            await one.stop()
            assert (folder / "one").read_text() == "shutdown"
            await three.tell(Exit())
            await eventually(lambda: (folder / "three").exists() and (folder / "three").read_text() == "done")
        assert (folder / "two").read_text() == "shutdown"

    run(main())


def test_an_agent_that_ends_itself_ended_normally(run, folder):
    async def main():
        async with Supervisor() as sup:
            last = await sup.spawn(Last, name="last", args={"path": str(folder / "last")})
            pid = await last.ask(Pid())
            await last.tell(Exit())
            await eventually(lambda: row(sup, "last")["pid"] not in (pid, None))
            assert row(sup, "last")["last_exit"]["reason"] == "normal"

    run(main())


@pytest.mark.parametrize("overflow", ["block", "reject"])
def test_a_full_mailbox_makes_a_tell_wait_or_raise(run, folder, overflow):
    async def main():
        async with Supervisor() as sup:
            gate = await sup.spawn(
                Gate,
                name="gate",
                args={"path": str(folder / "go")},
                mailbox={"size": 10, "overflow": overflow},
                stop_timeout="1s",
            )
            for number in range(10):
                await gate.tell(Note(str(number)))
            if overflow == "reject":
                with pytest.raises(MailboxFull, match="overflow policy is to reject"):
                    await gate.tell(Note("10"))
                (folder / "go").touch()
                assert len(await asyncio.wait_for(until_notes(gate, 10), 20)) == 10
                return
            tell = asyncio.ensure_future(gate.tell(Note("10")))
            await stays(lambda: not tell.done())
            (folder / "go").touch()
            await tell
            assert await until_notes(gate, 11) == [str(number) for number in range(11)]

    run(main())


async def until_notes(gate, count):
    while True:
        try:
            if len(notes := await gate.ask(Notes())) >= count:
                return notes
        except MailboxFull:
            pass
        await asyncio.sleep(0.005)


def test_an_agent_that_floods_another_waits_for_it_and_loses_nothing(run, folder):
    async def main():
        async with Supervisor() as sup:
            gate = await sup.spawn(Gate, name="gate", args={"path": str(folder / "go")}, mailbox={"size": 10}, stop_timeout="1s")
            friend = await sup.spawn(Friend, name="friend", stop_timeout="1s")
            flood = asyncio.ensure_future(friend.ask(Flood("gate", 5000)))
            await eventually(lambda: row(sup, "gate")["mailbox"] >= 10)
            await stays(lambda: row(sup, "gate")["mailbox"] <= 10 + 1000)
            assert not flood.done()
            (folder / "go").touch()
            assert await flood == 5000
            assert await until_notes(gate, 5000) == [str(number) for number in range(5000)]

    run(main())


def test_what_an_agent_prints_and_logs_arrives_on_the_logger(run, caplog, capfd):
    caplog.set_level(logging.INFO, "actorsys.agent")

    async def main():
        async with Supervisor() as sup:
            counter = await sup.spawn(Counter, name="counter")
            await counter.tell(Print("hello from inside"))
            await counter.tell(Log("a warning from inside"))
            await eventually(lambda: {"hello from inside", "a warning from inside"} <= texts().keys())

    def texts():
        return {record.getMessage(): record for record in caplog.records if record.name == "actorsys.agent"}

    run(main())
    printed, logged = texts()["hello from inside"], texts()["a warning from inside"]
    assert (printed.agent, printed.levelno) == ("counter", logging.INFO)
    assert (logged.agent, logged.levelno) == ("counter", logging.WARNING)
    assert capfd.readouterr() == ("", "")


def test_the_last_output_before_a_death_is_kept(run):
    async def main():
        async with Supervisor() as sup:
            counter = await sup.spawn(Counter, name="counter")
            pid = await counter.ask(Pid())
            await counter.tell(Print("my last words"))
            await counter.tell(Die())
            await eventually(lambda: row(sup, "counter")["pid"] not in (pid, None))
            why = await sup._commands("why", {"name": "counter"})
            assert "my last words" in why["exits"][0]["output"]

    run(main())


def test_replicas_share_the_work_and_each_can_be_addressed(run):
    async def main():
        async with Supervisor() as sup:
            meeting = await sup.spawn(Meeting, name="meeting", replicas=2)
            names = [child["name"] for child in sup.children()]
            assert names == ["meeting/0", "meeting/1"]
            pids = [await sup.agent(name).ask(Pid()) for name in names]
            assert len(set(pids)) == 2
            asks = [asyncio.ensure_future(meeting.ask(Meet(1), timeout=20)) for _ in range(2)]
            await asyncio.gather(*asks)
            assert {child["handled"] for child in sup.children()} == {2}

    run(main())


def test_stopping_the_supervisor_leaves_nothing_and_may_be_repeated(run):
    async def main():
        before = asyncio.all_tasks()
        sup = Supervisor()
        await sup.start()
        await sup.spawn(Counter, name="counter")
        folder = sup.state_dir
        assert folder.exists()
        await sup.stop()
        await sup.stop()
        assert not folder.exists()
        assert asyncio.all_tasks() == before

    run(main())


def test_an_error_inside_the_block_still_stops_everything(run):
    async def main():
        async with Supervisor() as sup:
            await sup.spawn(Counter, name="counter")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main())


def test_two_supervisors_in_one_process_do_not_disturb_each_other(run):
    async def main():
        async with Supervisor() as one, Supervisor() as two:
            first, second = await one.spawn(Counter, name="counter"), await two.spawn(Counter, name="counter")
            assert [await first.ask(Add(1)), await second.ask(Add(2))] == [1, 2]

    run(main())
