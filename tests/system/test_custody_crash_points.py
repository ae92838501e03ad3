"""SIGKILL at each point of a message's way: handled at least once, with stored state and answer exactly once, in order."""

import asyncio
import os
import signal

import pytest
from custody_agents import Item, Mortal, Numbers, NumberSender, NumberSink, Send, Wrong
from system_agents import Diary, Notes, Pid

from actorsys import Supervisor
from actorsys.testing.waiting import eventually

OFTEN = {"max_restarts": 100_000, "window": "10s", "backoff": "1ms", "backoff_max": "2ms"}
DYING = "custody_agents:DyingSqlite"
ITEMS = list(range(6))

# Where the process is killed, and with which state backends that point exists.
POINTS = {
    "before delivery": ("in_memory", "sqlite"),
    "after delivery": ("in_memory", "sqlite"),
    "in the handler": ("in_memory", "sqlite"),
    "while it waits": ("in_memory", "sqlite"),
    "before the commit": (DYING,),
    "after the commit": (DYING,),
    "before the frame": ("sqlite",),
    "after the frame": ("sqlite",),
}
CASES = [(point, memory) for point, memories in POINTS.items() for memory in memories]


def row(sup, name):
    return next(row for row in sup.children() if row["name"] == name)


async def killed_and_up_again(sup, name):
    pid = await eventually(lambda: row(sup, name)["state"] == "running" and row(sup, name)["pid"])
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: row(sup, name)["state"] == "running" and row(sup, name)["pid"] != pid)


@pytest.mark.parametrize("kind", ["tell", "ask"])
@pytest.mark.parametrize(("point", "memory"), CASES)
def test_killed_at_this_point_nothing_is_lost_doubled_or_out_of_order(run, folder, point, memory, kind):
    async def main():
        async with Supervisor() as sup:
            diary = await sup.spawn(Diary, name="diary", memory="sqlite")
            flag = folder / "died"
            mortal = await sup.spawn(
                Mortal, name="mortal", memory=memory, args={"point": point, "flag": str(flag)}, restart=OFTEN
            )  # fmt: skip
            if point == "before delivery":
                os.kill(row(sup, "mortal")["pid"], signal.SIGKILL)
                flag.touch()
            if kind == "ask":
                asks = [asyncio.ensure_future(mortal.ask(Item(n), timeout=50)) for n in ITEMS]
                assert await asyncio.gather(*asks) == [n * 10 for n in ITEMS]
            else:
                for n in ITEMS:
                    await mortal.tell(Item(n))
            await eventually(flag.exists)
            await mortal.ask(Pid(), timeout=50)
            notes = await diary.ask(Notes(), timeout=50)
            assert notes == [
                str(n) for n in ITEMS
            ]  # what a handler tells leaves with its acknowledgement: once, even without stored state
            if memory != "in_memory":
                assert (await mortal.state())["items"] == ITEMS
            assert row(sup, "mortal")["restarts"] == 1
            assert row(sup, "mortal")["dead_letters"] == 0

    run(main())


async def under_kills(count):
    """Four senders, `count` numbered messages each, to an agent that is killed every 50 ms; how often it was."""
    async with Supervisor() as sup:
        mailbox = {"max_deliveries": 100_000}
        sink = await sup.spawn(NumberSink, name="sink", memory="sqlite", restart=OFTEN, mailbox=mailbox)
        senders = [await sup.spawn(NumberSender, name=f"sender{index}") for index in range(4)]
        sending = asyncio.gather(*(sender.ask(Send("sink", count), timeout=1000) for sender in senders))
        kills = 0

        async def killer():
            nonlocal kills
            while True:
                await asyncio.sleep(0.05)
                found = row(sup, "sink")
                if found["state"] == "running" and found["pid"]:
                    os.kill(found["pid"], signal.SIGKILL)
                    kills += 1

        killing = asyncio.ensure_future(killer())
        await sending
        await eventually(lambda: row(sup, "sink")["mailbox"] == 0, timeout=1000)
        killing.cancel()
        assert await sink.ask(Numbers(), timeout=100) == {f"sender{index}": count for index in range(4)}
        assert await sink.ask(Wrong(), timeout=100) == []
        assert row(sup, "sink")["dead_letters"] == 0
        return kills


def test_numbered_messages_under_a_kill_every_50_ms_are_in_the_state_once_and_in_order(run):
    """`make soak-custody` sends 4 x 10,000."""
    count = int(os.environ.get("SOAK_MESSAGES", "2000"))
    kills = run(under_kills(count), timeout=100 if count <= 2000 else 1000)
    print(f"4 x {count} messages, {kills} kills: nothing lost, doubled or out of order")
    assert kills > 3


def test_killing_every_replica_in_turn_loses_nothing(run):
    async def main():
        async with Supervisor() as sup:
            sink = await sup.spawn(NumberSink, name="sink", memory="sqlite", restart=OFTEN, replicas=2)
            sender = await sup.spawn(NumberSender, name="sender")
            for index in (0, 1):
                await sender.ask(Send(f"sink/{index}", 500), timeout=50)
                await killed_and_up_again(sup, f"sink/{index}")
                replica = sup.agent(f"sink/{index}")
                assert await replica.ask(Numbers(), timeout=50) == {"sender": 500}
                assert await replica.ask(Wrong(), timeout=50) == []
            assert sink.name == "sink"

    run(main())
