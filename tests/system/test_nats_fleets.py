"""Many agents, each with a NATS connection; `make soak-nats` does it with hundreds."""

import asyncio
import json
import uuid

import nats
import pytest
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout
from system_agents import Imported, Importer

from actorsys import Supervisor
from actorsys.testing.children import Pid
from actorsys.testing.nats import require_server, run_server
from actorsys.testing.waiting import eventually

AGENTS = 60


@pytest.fixture(autouse=True)
def server_needed():
    require_server()


async def answer(client, name):
    sent = {
        "message_type": "request",
        "from_agent": "tester",
        "to_agent": name,
        "content": {"type": Pid.__name__},
        "metadata": {},
        "timestamp": "2026-01-02T03:04:05Z",
        "message_id": str(uuid.uuid4()),
        "in_reply_to": None,
        "priority": 3,
    }
    while True:
        try:
            return json.loads((await client.request(f"agents.request.{name}", json.dumps(sent).encode(), timeout=2)).data)[
                "content"
            ]
        except (NoRespondersError, NatsTimeout):
            await asyncio.sleep(0.02)


def test_a_fleet_answers_again_soon_after_its_server_and_none_restarts(run, folder):
    async def main():
        async with run_server(folder / "nats") as server:
            url = server.url.replace("nats://", f"nats://{server.info.token}@")
            names = [f"agent{number}" for number in range(AGENTS)]
            tables = [f'[agents.{name}]\ntype = "actorsys.testing.children:Obedient"\n' for name in names]
            (folder / "agents.toml").write_text(f'[nats]\nmode = "external"\nurl = "{url}"\n{"".join(tables)}')
            async with Supervisor.from_toml(folder / "agents.toml") as sup:
                members = sup.driver.members.values()

                async def all_answer():
                    await eventually(lambda: all(member.nats == "connected" for member in members), 60.0)
                    client = await nats.connect(url)
                    try:
                        return await asyncio.gather(*(answer(client, name) for name in names))
                    finally:
                        await client.close()

                pids = await all_answer()
                assert len(set(pids)) == AGENTS
                server.kill()
                await eventually(lambda: all(member.nats == "connecting" for member in members))
                await server.start()
                async with asyncio.timeout(10.0):
                    assert await all_answer() == pids
                assert {row["restarts"] for row in sup.children()} == {0}

    run(main(), timeout=120)


def test_an_agent_imports_nothing_to_connect(run, folder):
    async def main():
        async with run_server(folder / "nats") as server:
            url = server.url.replace("nats://", f"nats://{server.info.token}@")
            async with Supervisor(nats=url) as sup:
                agent = await sup.spawn(Importer, name="importer")
                await eventually(lambda: sup.driver.members["importer/0"].nats == "connected")
                assert [name for name in await agent.ask(Imported()) if name.startswith(("actorsys", "nats", "aiohttp"))] == []

    run(main())
