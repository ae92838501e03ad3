"""What custody promises about mail while agents die, start late, are full, or are stuck."""

import asyncio
import os
import signal

import pytest
from custody_agents import (
    Asker,
    AskTo,
    Exchange,
    Hold,
    Holder,
    Late,
    Next,
    Numbers,
    NumberSender,
    NumberSink,
    Pusher,
    Send,
    Teller,
)
from system_agents import Counter, Gate, Note, Notes, Pid, Total

from actorsys import ActorError, AgentDown, AskTimeout, BadMessage, MailboxFull, Supervisor
from actorsys.supervision.member import rss_bytes
from actorsys.testing.waiting import eventually

OFTEN = {"max_restarts": 1000, "window": "10s", "backoff": "1ms", "backoff_max": "5ms"}


def row(sup, name):
    return next(row for row in sup.children() if row["name"] == name)


def kill(sup, name):
    os.kill(row(sup, name)["pid"], signal.SIGKILL)


def test_at_most_once_each_ask_ends_once_with_a_result_or_a_typed_error(run):
    """D01: 200 asks in turn, one of them kills; nobody waits past its deadline."""

    async def main():
        async with Supervisor() as sup:
            teller = await sup.spawn(Teller, name="teller", restart=OFTEN)
            results, errors = [], []
            for number in range(200):
                try:
                    results.append(await teller.ask(Next(deadly=number == 99), when_down="fail", timeout=30))
                except AgentDown as error:
                    errors.append(error)
                    await eventually(lambda: row(sup, "teller")["state"] == "running")
            assert results[:99] == list(range(1, 100))
            assert results[99:] == list(range(1, len(results) - 98))
            assert len(results) + len(errors) == 200
            assert errors[0].may_have_run is True
            assert "SIGKILL" in errors[0].reason

    run(main())


def test_at_least_once_all_asks_succeed_and_a_new_life_counts_from_one(run):
    """D02: without stored state the values read 1..k, then 1..(100-k); the ask in flight at the death is handled again."""

    async def main():
        async with Supervisor() as sup:
            teller = await sup.spawn(Teller, name="teller", restart=OFTEN)
            values = []
            for number in range(100):
                ask = asyncio.ensure_future(teller.ask(Next(), timeout=50))
                if number == 40:
                    kill(sup, "teller")
                values.append(await ask)
            turn = values.index(1, 1)
            assert turn in (40, 41)
            assert values == [*range(1, turn + 1), *range(1, 101 - turn)]

    run(main())


def test_during_a_backoff_an_ask_fails_at_once_or_waits_as_it_is_told(run):
    """D03: and waiting costs no delivery."""

    async def main():
        async with Supervisor() as sup:
            counter = await sup.spawn(Counter, name="counter", restart={"backoff": "1s", "backoff_max": "1s", "jitter": 0})
            for _ in range(2):  # the first restart is at once
                await eventually(lambda: row(sup, "counter")["state"] == "running")
                kill(sup, "counter")
                await eventually(lambda: row(sup, "counter")["state"] != "running")
            await eventually(lambda: row(sup, "counter")["state"] == "backoff")
            patient = asyncio.ensure_future(counter.ask(Total(), timeout=50))
            with pytest.raises(AgentDown, match="it is down"):
                await counter.ask(Total(), when_down="fail", timeout=50)
            assert row(sup, "counter")["state"] == "backoff"
            assert await patient == 0
            assert row(sup, "counter")["restarts"] == 2

    run(main())


def test_when_an_agent_fails_for_good_each_queued_tell_is_a_dead_letter_once(run, folder):
    """D04: with the reason; asks get the error."""

    async def main():
        async with Supervisor() as sup:
            gate = await sup.spawn(
                Gate, name="gate", args={"path": str(folder / "go")}, restart={"max_restarts": 0}, mailbox={"window": 3}
            )
            for number in range(10):
                await gate.tell(Note(str(number)))
            asks = [asyncio.ensure_future(gate.ask(Notes(), timeout=50)) for _ in range(2)]
            await eventually(lambda: row(sup, "gate")["mailbox"] == 12)
            kill(sup, "gate")
            for ask in asks:
                with pytest.raises(AgentDown, match="its handler has not run"):
                    await ask
            dead = list(sup.mail.switchboard.dead_letters)
            assert [letter.payload[-1:] for letter in dead] == [str(number).encode() for number in range(10)]
            assert {letter.reason.partition(":")[0] for letter in dead} == {"gate has failed"}
            with pytest.raises(AgentDown):
                await gate.ask(Notes())

    run(main())


def test_a_small_mailbox_keeps_the_newest_of_what_comes_during_a_restart(run, folder):
    """D05: 6 messages for a bound of 4; the first of those kept kills once more, and the other 3 are still handled."""

    async def main():
        async with Supervisor() as sup:
            path = folder / "go"
            path.touch()
            late = await sup.spawn(
                Late,
                name="late",
                args={"path": str(path)},
                memory="sqlite",
                restart=OFTEN,
                mailbox={"size": 4, "overflow": "drop_oldest"},
            )
            path.unlink()
            kill(sup, "late")
            await eventually(lambda: row(sup, "late")["state"] == "starting")
            for text in ("a", "b", "die", "c", "d", "e"):
                await late.tell(Note(text))
            assert row(sup, "late")["dead_letters"] == 2
            path.touch()
            await eventually(lambda: row(sup, "late")["mailbox"] == 0)
            assert await late.ask(Notes(), timeout=50) == ["die", "c", "d", "e"]
            assert [letter.reason for letter in sup.mail.switchboard.dead_letters] == ["mailbox full, oldest dropped"] * 2
            assert row(sup, "late")["restarts"] == 2

    run(main())


def test_a_stuck_agent_takes_100000_sends_in_flat_memory_and_stops_at_once(run, folder):
    """D07: each is refused beyond the bound, and control does not queue behind mail."""

    async def main():
        async with Supervisor() as sup:
            gate = await sup.spawn(
                Gate,
                name="gate",
                args={"path": str(folder / "go")},
                mailbox={"size": 8, "overflow": "reject"},
                stop_timeout="100ms",
            )
            refused = 0
            before = 0
            for number in range(100_000):
                if number == 1000:
                    before = rss_bytes(os.getpid())
                try:
                    await gate.tell(Note(str(number)))
                except MailboxFull:
                    refused += 1
            assert refused == 100_000 - 8
            assert rss_bytes(os.getpid()) - before < 8 * 2**20
            assert row(sup, "gate")["mailbox"] == 8
            async with asyncio.timeout(20):
                await gate.stop()
            assert (row(sup, "gate")["state"], row(sup, "gate")["mailbox"]) == ("stopped", 8)

    run(main())


def test_100000_waiting_tells_of_a_stuck_agent_hold_no_more_than_its_bound(run, folder):
    async def main():
        async with Supervisor() as sup:
            gate = await sup.spawn(
                Gate, name="gate", args={"path": str(folder / "go")}, mailbox={"size": 8}, stop_timeout="100ms"
            )
            tells = [asyncio.ensure_future(gate.tell(Note("x"))) for _ in range(10_000)]
            await eventually(lambda: row(sup, "gate")["mailbox"] == 8)
            assert sum(tell.done() for tell in tells) == 8
            await gate.stop()
            for tell in tells:
                tell.cancel()
            await asyncio.gather(*tells, return_exceptions=True)

    run(main())


def test_a_mailbox_of_one_takes_ten_sends_before_the_start_is_over(run, folder):
    """D08: no deadlock."""

    async def main():
        async with Supervisor() as sup:
            path = folder / "go"
            spawn = asyncio.ensure_future(
                sup.spawn(Late, name="late", args={"path": str(path)}, mailbox={"size": 1}, start_timeout="50s")
            )
            await eventually(lambda: any(child["name"] == "late" for child in sup.children()))
            late = sup.agent("late")
            tells = [asyncio.ensure_future(late.tell(Note(str(number)))) for number in range(10)]
            await eventually(lambda: row(sup, "late")["mailbox"] == 1)
            path.touch()
            await spawn
            await asyncio.gather(*tells)
            assert await late.ask(Notes(), timeout=50) == [str(number) for number in range(10)]

    run(main())


def test_a_ref_taken_before_a_restart_works_after_it(run):
    """D09: tell, ask, info, restart and stop reach the new incarnation."""

    async def main():
        async with Supervisor() as sup:
            ref = await sup.spawn(Teller, name="teller", restart=OFTEN)
            pid = await ref.ask(Pid())
            kill(sup, "teller")
            assert await ref.ask(Pid()) != pid
            await ref.tell(Next())
            assert await ref.ask(Next()) == 2
            assert (await ref.info())["incarnation"] == 2
            await ref.restart()
            assert await ref.ask(Next()) == 1
            await ref.stop()
            assert row(sup, "teller")["state"] == "stopped"

    run(main())


def test_four_senders_keep_their_order_and_lose_nothing(run):
    """D13: 4 x 10,000 numbered messages, nobody dies."""

    async def main():
        async with Supervisor() as sup:
            sink = await sup.spawn(NumberSink, name="sink")
            senders = [await sup.spawn(NumberSender, name=f"sender{index}") for index in range(4)]
            await asyncio.gather(*(sender.ask(Send("sink", 10_000), timeout=100) for sender in senders))
            numbers = await sink.ask(Numbers(), timeout=100)
            assert numbers == {f"sender{index}": 10_000 for index in range(4)}
            assert "wrong" not in await sink.state()

    run(main(), timeout=110)


def test_when_the_asker_dies_the_handler_is_cancelled(run):
    """D15: and when it is cancelled; an answer that comes nevertheless is counted and dropped."""

    async def main():
        async with Supervisor() as sup:
            holder = await sup.spawn(Holder, name="holder")
            asker = await sup.spawn(Asker, name="asker", restart=OFTEN, mailbox={"max_deliveries": 1})
            await asker.ask(Pid())
            ask = asyncio.ensure_future(asker.ask(AskTo("holder"), timeout=100))
            await eventually(lambda: row(sup, "holder")["in_flight"] == 1)
            kill(sup, "asker")
            with pytest.raises(AgentDown, match="may have run"):
                await ask
            assert await holder.ask(Next(), timeout=50) == 1
            hold = asyncio.ensure_future(holder.ask(Hold(), timeout=100))
            await eventually(lambda: row(sup, "holder")["in_flight"] == 1)
            hold.cancel()
            assert await holder.ask(Next(), timeout=50) == 2

    run(main())


def test_two_full_mailboxes_that_tell_each_other_wait_no_longer_than_their_deadline(run):
    async def main():
        async with Supervisor() as sup:
            one, two = [await sup.spawn(Pusher, name=name, mailbox={"size": 4}) for name in ("one", "two")]
            asks = [
                asyncio.ensure_future(one.ask(Exchange("two", 2000, 0.3), timeout=50)),
                asyncio.ensure_future(two.ask(Exchange("one", 2000, 0.3), timeout=50)),
            ]
            for result in await asyncio.gather(*asks, return_exceptions=True):
                assert result == 2000 or (isinstance(result, ActorError) and not isinstance(result, AskTimeout)), result
            await asyncio.gather(one.ask(Pid(), timeout=50), two.ask(Pid(), timeout=50))
            await eventually(lambda: row(sup, "one")["mailbox"] == row(sup, "two")["mailbox"] == 0)

    run(main())


def test_a_payload_above_the_limit_is_an_error_of_its_sender(run):
    async def main():
        async with Supervisor(max_payload="10KiB") as sup:
            counter = await sup.spawn(Pusher, name="pusher")
            pid = await counter.ask(Pid())
            for send in (counter.tell, counter.ask):
                with pytest.raises(BadMessage, match=r"a payload of 10\.\dKiB; at most 10\.0KiB are allowed") as caught:
                    await send(Note("x" * 10_240))
                assert caught.value.field == "payload"
            await counter.tell(Note("x" * 10_000))
            assert await counter.ask(Pid()) == pid

    run(main())
