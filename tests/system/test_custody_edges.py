"""D16: an agent that writes nonsense into its pipe is replaced with one typed error; nobody else notices."""

import re

import pytest
from custody_agents import NONSENSE, Flood, Flooder, Stuck, Vandal, WriteRaw
from system_agents import Add, Counter, Pid, Total

from actorsys import Supervisor
from actorsys.mailbox import switchboard
from actorsys.testing.waiting import eventually


def row(sup, name):
    return next(row for row in sup.children() if row["name"] == name)


@pytest.mark.parametrize("what", NONSENSE)
def test_whoever_writes_nonsense_is_replaced_and_the_others_are_unharmed(run, caplog, what):
    async def main():
        async with Supervisor() as sup:
            bystander = await sup.spawn(Counter, name="bystander")
            await bystander.ask(Add(1))
            pid = await bystander.ask(Pid())
            vandal = await sup.spawn(Vandal, name="vandal", mailbox={"max_deliveries": 1})
            first = await vandal.ask(Pid())
            await vandal.tell(WriteRaw(what))
            await eventually(lambda: row(sup, "vandal")["pid"] not in (first, None))
            assert await vandal.ask(Pid(), timeout=50) != first
            assert await bystander.ask(Pid()) == pid
            assert await bystander.ask(Total()) == 1

    run(main())
    said = re.findall(r"vandal sent bytes that are no frame \((.*)\) and is replaced", caplog.text)
    assert len(said) == (0 if what == "half a frame" else 1), caplog.text


def test_whoever_floods_a_stuck_agent_is_replaced_and_the_others_are_unharmed(run, caplog, monkeypatch):
    monkeypatch.setattr(switchboard, "FLOOD_BYTES", 2**20)

    async def main():
        async with Supervisor() as sup:
            bystander = await sup.spawn(Counter, name="bystander")
            stuck = await sup.spawn(Stuck, name="stuck", mailbox={"size": 10})
            await stuck.tell(Flood(""))
            flooder = await sup.spawn(Flooder, name="flooder", mailbox={"max_deliveries": 1})
            first = await flooder.ask(Pid())
            await flooder.tell(Flood("stuck"))
            await eventually(lambda: row(sup, "flooder")["pid"] not in (first, None))
            assert await flooder.ask(Pid(), timeout=50) != first
            assert await bystander.ask(Add(1)) == 1
            assert sup.mail.switchboard.boxes["stuck/0"].bytes < 16 * 2**20

    run(main())
    assert "flooder goes on sending to stuck, whose mailbox is full, and is replaced" in caplog.text
