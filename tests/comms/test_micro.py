"""The service protocol: what stock tools ask, and what they are answered."""

import asyncio
import json
from typing import Any

import pytest
from nats.micro.service import ServiceInfo, ServicePing, ServiceStats

from actorsys.bus.base import Incoming
from actorsys.bus.local import LocalBus, LocalHub
from actorsys.comms import AgentComms
from actorsys.comms.micro import Endpoint, Micro, about, discover
from actorsys.testing.waiting import eventually

READ = {"PING": ServicePing, "INFO": ServiceInfo, "STATS": ServiceStats}


def micro(bus: LocalBus, name: str = "bee") -> Micro:
    endpoints = [Endpoint("request", f"agents.request.{name}", f"agents.{name}")]
    return Micro(bus, endpoints, lambda: about(name, "here", ("fly", "hum"), "idle"), description="a bee")


@pytest.mark.parametrize("verb", ["PING", "INFO", "STATS"])
@pytest.mark.parametrize("rest", ["", ".actorsys", ".actorsys.{id}"])
def test_each_verb_is_answered_on_its_three_subjects_as_the_standard_client_reads_it(run: Any, verb: str, rest: str) -> None:
    async def main() -> None:
        async with LocalBus() as bus:
            service = micro(bus)
            service.endpoints[0].count(2_000, None)
            service.endpoints[0].count(4_000, ValueError("no"))
            await service.start()
            answer = json.loads((await bus.request(f"$SRV.{verb}{rest}".format(id=service.id), b"", 5.0)).payload)
            assert answer["type"] == f"io.nats.micro.v1.{verb.lower()}_response"
            read: Any = READ[verb].from_dict(answer)
            assert (read.name, read.id, read.metadata["agent"]) == ("actorsys", service.id, "bee")
            assert read.metadata == {"agent": "bee", "node": "here", "capabilities": "fly,hum", "status": "idle"}
            if verb == "INFO":
                assert read.description == "a bee"
                assert (read.endpoints[0].subject, read.endpoints[0].queue_group) == ("agents.request.bee", "agents.bee")
            if verb == "STATS":
                stats = read.endpoints[0]
                assert (stats.num_requests, stats.num_errors, stats.last_error) == (2, 1, "ValueError: no")
                assert (stats.processing_time, stats.average_processing_time) == (6_000, 3_000)
            await service.close()

    run(main)


def test_other_verbs_other_services_and_questions_without_a_reply_are_left_alone(run: Any) -> None:
    async def main() -> None:
        async with LocalBus() as bus:
            service = micro(bus)
            await service.start()
            got: list[Incoming] = []

            async def keep(incoming: Incoming) -> None:
                got.append(incoming)

            await bus.subscribe("reply", keep)
            await bus.publish("$SRV.SCHEMA", b"", reply="reply")
            await bus.publish("$SRV.PING.other", b"", reply="reply")
            await bus.publish("$SRV.PING", b"")
            await bus.publish("$SRV.PING", b"", reply="reply")
            await eventually(lambda: got)
            assert len(got) == 1
            assert bus.stats().handler_errors == 0

    run(main)


def test_discover_collects_all_and_skips_what_is_none_of_ours(run: Any) -> None:
    async def main() -> None:
        async with LocalBus(hub := LocalHub()) as bus, LocalBus(hub) as other:
            services = [micro(other, name) for name in ("ant", "bee", "cat")]
            for service in services:
                await service.start()

            async def odd(incoming: Incoming) -> None:
                for payload in (b"", b"[", b"\xff", b"[" * 100_000, b'{"name":"actorsys"}', b"null"):
                    await other.publish(incoming.reply, payload)

            await other.subscribe("$SRV.INFO.actorsys", odd)
            found = await discover(bus, 5.0, quiet=0.05)
            assert sorted(info.metadata["agent"] for info in found) == ["ant", "bee", "cat"]
            assert found[0].capabilities == ["fly", "hum"]
            assert bus.stats().subscriptions == 0
            for service in services:
                await service.close()
            assert await discover(bus, 0.05) == []

    run(main)


def test_an_agent_counts_what_it_is_asked_and_told(run: Any) -> None:
    class Bee(AgentComms):
        name = "bee"

        async def run(self, message: Any) -> Any:
            return 1 / message

        async def agentic_run(self, message: Any) -> None: ...

    async def main() -> None:
        async with LocalBus() as bus:
            bee = Bee()
            await bee.connect_nats(bus=bus)
            await bee.request_from_agent(to_agent="bee", content=1)
            with pytest.raises(Exception, match="division"):
                await bee.request_from_agent(to_agent="bee", content=0)
            await bee.send_direct_message(to_agent="bee", content=0)
            await asyncio.sleep(0)

            async def stats() -> Any:
                return json.loads((await bus.request("$SRV.STATS.actorsys", b"", 5.0)).payload)["endpoints"]

            asked, told = await stats()
            assert (asked["name"], asked["num_requests"], asked["num_errors"]) == ("request", 2, 1)
            assert (told["name"], told["subject"]) == ("direct", "agents.direct.bee")
            assert asked["processing_time"] > 0
            await bee.disconnect_nats()

    run(main)
