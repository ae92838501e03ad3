"""Who is still there: pings over a bus inside this process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from actorsys.bus.base import Incoming
from actorsys.bus.local import LocalBus, LocalHub
from actorsys.comms import pings as module
from actorsys.comms.micro import Micro
from actorsys.comms.peers import Peers
from actorsys.comms.pings import Pings
from actorsys.testing.waiting import eventually


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INTERVAL", "AGAIN", "TIMEOUT"):
        monkeypatch.setattr(module, name, 0.01)


@asynccontextmanager
async def nodes() -> AsyncIterator[tuple[LocalHub, Peers, Pings, LocalBus, Micro]]:
    """We, who have heard of an agent on node "n" with the id "1", and that node."""
    async with LocalBus(hub := LocalHub()) as ours, LocalBus(hub) as theirs:
        peers = Peers(10**12)
        peers.learn("bee", now=0, node="n", instance="1", capabilities=["fly"])
        node = Micro(theirs, [], dict, id="1", is_listed=False)
        await node.start()
        pings = Pings(ours, peers)
        try:
            yield hub, peers, pings, theirs, node
        finally:
            await pings.close()


def status(peers: Peers) -> str:
    return next((peer.status or "there" for peer in peers.all(0)), "gone")


async def answered(pings: Pings) -> None:
    await eventually(lambda: pings._has_answered.get("1"))


def test_a_node_that_has_answered_and_listens_no_more_is_gone_with_its_agents(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with nodes() as (_, peers, pings, _, node):
            pings.start()
            assert pings.meet("1")
            assert not pings.meet("1")
            await answered(pings)
            assert status(peers) == "there"
            await node.close()
            await eventually(lambda: status(peers) == "gone")
            assert "node 'n' (1) is gone from NATS, and with it bee" in caplog.text
            await eventually(lambda: not len(pings))

    run(main)


def test_one_ping_that_finds_nobody_is_not_enough(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with nodes() as (_, peers, pings, theirs, node):
            pings.meet("1")
            await answered(pings)
            monkeypatch.setattr(module, "AGAIN", 0.05)
            await node.close()
            pings.ask("1")
            await asyncio.sleep(0)  # the ping is sent in the first turn of its task
            await Micro(theirs, [], dict, id="1", is_listed=False).start()
            await eventually(lambda: not pings._asking)
            assert status(peers) == "there"

    run(main)


def test_a_node_that_is_silent_is_stale_until_it_answers(run: Any) -> None:
    async def main() -> None:
        async with nodes() as (_, peers, pings, theirs, node):
            pings.start()
            pings.meet("1")
            await answered(pings)
            await node.close()

            async def nothing(incoming: Incoming) -> None:
                pass

            frozen = await theirs.subscribe("$SRV.*.actorsys.1", nothing)
            await eventually(lambda: status(peers) == "stale")
            assert peers.find("fly", 0) == []
            await Micro(theirs, [], dict, id="1", is_listed=False).start()
            await frozen.unsubscribe()
            await eventually(lambda: status(peers) == "there")
            assert [peer.name for peer in peers.find("fly", 0)] == ["bee"]

    run(main)


def test_a_node_that_never_answered_is_left_to_its_heartbeats(run: Any) -> None:
    async def main() -> None:
        async with nodes() as (_, peers, pings, _, node):
            await node.close()
            pings.meet("1")
            await eventually(lambda: not pings._asking)
            await pings.sift(peers.instances())
            assert status(peers) == "there"

    run(main)


def test_our_own_lost_connection_says_nothing_about_others(run: Any) -> None:
    async def main() -> None:
        async with nodes() as (hub, peers, pings, _, _):
            pings.meet("1")
            await answered(pings)
            hub.stop()
            pings.ask("1")
            await eventually(lambda: not pings._asking)
            assert status(peers) == "there"

    run(main)


@pytest.mark.parametrize("instance", ["", "no id", "*", "a.>", "x" * 10_000])
def test_what_strangers_call_themselves_harms_nobody(run: Any, instance: str) -> None:
    async def main() -> None:
        async with nodes() as (_, peers, pings, _, _):
            peers.learn("odd", now=0, node="n", instance=instance)
            pings.meet(instance)
            pings.ask(instance)
            pings.ask("1")
            await eventually(lambda: not pings._asking)
            assert len(peers) == 2

    run(main)


def test_sifting_drops_who_is_gone_at_once(run: Any) -> None:
    async def main() -> None:
        async with nodes() as (_, peers, pings, _, node):
            pings.answered("1")
            await pings.sift(["1", "unknown"])
            assert status(peers) == "there"
            await node.close()
            await pings.sift(["1"])
            assert (status(peers), len(pings)) == ("gone", 0)

    run(main)


def test_thousands_of_made_up_instances_neither_set_off_as_many_pings_nor_keep_a_node_from_its_own(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 500)

    async def main() -> None:
        async with nodes() as (_, peers, pings, _, node):
            pings.meet("1")
            await answered(pings)
            for number in range(5000):
                peers.learn(f"ghost{number}", now=0, node="n", instance=f"ghost{number}")
                assert pings.meet(f"ghost{number}")
            assert len(pings._asking) <= 100
            pings.start()
            await node.close()
            async with asyncio.timeout(5.0):  # all of them in turn take 10 s
                await eventually(lambda: not peers.has_instance("1"), 10.0)
            assert len(peers) == 5000

    run(main)
