"""Streams that would answer in the place of agents are found."""

from typing import Any

import pytest

from actorsys.bus.nats import NatsBus
from actorsys.bus.nats_streams import capturing


@pytest.mark.slow
def test_streams_that_overlap_the_requests_are_found_and_others_are_not(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server() as server, NatsBus(server.options()) as bus:
            await bus.wait_connected(5.0)
            assert await capturing(bus) == []
            jetstream = bus.client.jetstream()
            await jetstream.add_stream(name="MAIL", subjects=["actorsys.mail.*"])
            assert await capturing(bus) == []
            for subject in ("agents.>", "agents.request.one", "agents.*.*", "agents.request.*"):
                await jetstream.add_stream(name="GREEDY", subjects=[subject])
                assert await capturing(bus) == ["GREEDY"], subject
                await jetstream.delete_stream("GREEDY")

    run(main)


def test_without_jetstream_there_are_none(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server(jetstream=False) as server, NatsBus(server.options()) as bus:
            await bus.wait_connected(5.0)
            assert await capturing(bus) == []

    run(main)
