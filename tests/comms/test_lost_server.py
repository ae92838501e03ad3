"""The server goes away and comes back, or was never there: an agent goes on."""

import asyncio
import json
import time
from typing import Any

import nats
import pytest

from actorsys.bus.envelope import decode
from actorsys.comms import AgentComms, NatsConfig
from actorsys.errors import ActorError, ConfigError, Unreachable
from actorsys.testing.waiting import eventually

pytestmark = pytest.mark.slow


class Bot(AgentComms):
    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__()

    def run(self, message: Any) -> Any:
        return message


def config(server: Any, **changes: Any) -> NatsConfig:
    return NatsConfig(server.url, options=server.options(), **changes)


def test_killed_and_restarted_requests_are_answered_within_two_seconds_of_the_server(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server() as server:
            bots = [Bot(f"bot{number}") for number in range(20)]
            for bot in bots:
                assert await bot.connect_nats(config=config(server))
            server.kill()
            await eventually(lambda: not any(bot.is_on_nats for bot in bots))
            with pytest.raises(Unreachable):
                await bots[0].request_from_agent(to_agent="bot1", content=1)
            await eventually(lambda: all(bot.nats_bus.stats().errors >= 4 for bot in bots))  # the waits have grown
            await server.start()
            began = time.monotonic()
            waiting = {bot.name for bot in bots}
            while waiting and time.monotonic() - began < 20:
                for name in sorted(waiting):
                    try:
                        assert await bots[0].request_from_agent(to_agent=name, content=1, timeout=1.0) == 1
                        waiting.discard(name)
                    except ActorError:
                        await asyncio.sleep(0.01)
            took = time.monotonic() - began
            assert not waiting
            assert took < 2.5  # 2 s, and room for a busy machine
            await asyncio.gather(*(bot.disconnect_nats() for bot in bots))

    run(main)


def test_absent_at_the_start_it_is_there_when_the_server_is(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server() as server:
            server.kill()
            one, two = Bot("one"), Bot("two")
            assert not await one.connect_nats(config=config(server, connection_timeout=0.05))
            assert not await two.connect_nats(config=config(server, connection_timeout=0.05))
            await one.broadcast_message(content="early")
            await server.start()
            await eventually(lambda: one.is_on_nats and two.is_on_nats)
            assert await one.request_from_agent(to_agent="two", content=1) == 1
            assert [peer.name for peer in await one.discover_agents()] == ["two"]
            await asyncio.gather(one.disconnect_nats(), two.disconnect_nats())

    run(main)


def test_an_agent_is_heard_of_again_soon_after_the_server_is_back(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server() as server:
            bot = Bot("bot")
            await bot.connect_nats(config=config(server))
            server.kill()
            await eventually(lambda: not bot.is_on_nats)
            await server.start()
            client = await nats.connect(server.url, token=server.info.token)
            subscription = await client.subscribe("agents.all")
            beat = decode((await subscription.next_msg(timeout=20)).data, limit=2**20)  # the interval is 30 s
            assert beat.message_type == "heartbeat"
            await client.close()
            await bot.disconnect_nats()

    run(main)


def test_the_leave_is_said_before_the_connection_ends(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server() as server:
            client = await nats.connect(server.url, token=server.info.token)
            subscription = await client.subscribe("agents.all")
            await client.flush()
            bot = Bot("bot")
            await bot.connect_nats(config=config(server))
            await bot.disconnect_nats()
            said = [json.loads((await subscription.next_msg(timeout=20)).data) for _ in range(2)]
            assert [each["content"]["event"] for each in said] == ["join", "leave"]
            assert said[0]["content"]["instance"] == said[1]["content"]["instance"]
            await client.close()

    run(main)


def test_disconnecting_at_any_moment_of_connecting_leaves_nothing(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server() as server:
            for turns in range(0, 48, 3):
                bot = Bot("bot")
                connecting = asyncio.create_task(bot.connect_nats(config=config(server)))
                for _ in range(turns):
                    await asyncio.sleep(0)
                await bot.disconnect_nats()
                await asyncio.gather(connecting, return_exceptions=True)
                if bot.is_on_nats:  # it was not yet begun
                    await bot.disconnect_nats()
                await eventually(lambda: len(asyncio.all_tasks()) == 1)

    run(main)


def test_without_permission_to_listen_connecting_fails_and_leaves_nothing(run: Any, nats_server: Any) -> None:
    users = """
authorization { users = [
  { user: one, password: secret, permissions: { subscribe: { deny: "agents.request.>" } } }
  { user: two, password: secret, permissions: { subscribe: { deny: "$SRV.>" } } }
] }
"""

    async def main() -> None:
        async with nats_server(extra=users) as server:
            address = server.url.rpartition("/")[2]
            bot = Bot("bot")
            with pytest.raises(ConfigError, match=r"agents\.request\.bot"):
                await bot.connect_nats(f"nats://one:secret@{address}")
            assert not bot.is_on_nats
            assert await bot.connect_nats(f"nats://two:secret@{address}")  # without $SRV it is only not listed
            assert await bot.request_from_agent(to_agent="bot", content=1) == 1
            await bot.disconnect_nats()

    run(main)
