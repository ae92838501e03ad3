"""A cluster of three servers that loses some of them."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import Any

import pytest

from actorsys.bus.base import Incoming
from actorsys.bus.nats import NatsBus
from actorsys.errors import AskTimeout, UnknownAgent
from actorsys.testing.nats import Server
from actorsys.testing.waiting import eventually

pytestmark = pytest.mark.slow

Cluster = Callable[..., Any]


@contextmanager
def reserved_ports(count: int) -> Iterator[list[int]]:
    """Ports that nobody else is given meanwhile, but on which a server may listen."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for found in sockets:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(("127.0.0.1", 0))
        yield [found.getsockname()[1] for found in sockets]


@pytest.fixture
def cluster(nats_server: Any) -> Cluster:
    """`async with cluster() as servers`: three that have found each other.

    With `jetstream` they are ready when they have elected a leader, which takes 5 s more when two stand at the same time.
    """

    @asynccontextmanager
    async def start(jetstream: bool = False) -> AsyncIterator[list[Server]]:
        async with AsyncExitStack() as stack:
            ports = stack.enter_context(reserved_ports(3))
            routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
            quick = 'lame_duck_grace_period: "5s"\nlame_duck_duration: "30s"'
            extra = [f'cluster {{ name: c, listen: "127.0.0.1:{port}", routes: [{routes}] }}\n{quick}' for port in ports]
            waiting = [
                stack.enter_async_context(nats_server(extra=text, token="open-sesame", jetstream=jetstream)) for text in extra
            ]
            yield list(await asyncio.gather(*waiting))

    return start


async def echo(bus: NatsBus, subject: str) -> None:
    async def handler(incoming: Incoming) -> None:
        await bus.publish(incoming.reply, incoming.payload)

    await bus.subscribe(subject, handler)


async def joined(bus: NatsBus, servers: list[Server]) -> None:
    """Return when it is connected to the first of them and knows the others."""
    await bus.wait_connected(5.0)
    await eventually(lambda: len(bus.client.discovered_servers) >= len(servers) - 1)


async def asked(bus: NatsBus, subject: str) -> bytes:
    """The answer to a request; servers tell each other of subscriptions, and for a moment one may not know of them.

    Or it knows only of one that a frozen server had, and sends the request there.
    """
    while True:
        try:
            return (await bus.request(subject, b"hi", 0.5)).payload
        except (AskTimeout, UnknownAgent):
            await asyncio.sleep(0.01)


async def heard_everywhere(subject: str, got: list[bytes], servers: list[Server]) -> None:
    """Return when what is published at any of the servers gets into `got`."""
    for server in servers:
        mark = server.url.encode()
        async with NatsBus(server.options()) as bus:
            await bus.wait_connected(5.0)
            while mark not in got:
                await bus.publish(subject, mark)
                await asyncio.sleep(0.01)


def where(bus: NatsBus) -> str:
    return f"nats://{bus.client.connected_url.netloc}"


def test_a_server_in_lame_duck_mode_is_left_in_good_order(run: Any, cluster: Cluster) -> None:
    async def main() -> None:
        async with cluster() as servers:
            async with NatsBus(servers[0].options()) as bus, NatsBus(servers[1].options()) as asker:
                await joined(bus, servers)
                await joined(asker, servers)
                await echo(bus, "q")
                got: list[bytes] = []

                async def keep(incoming: Incoming) -> None:
                    got.append(incoming.payload)

                await asker.subscribe("s", keep)
                await heard_everywhere("s", got, servers)
                await bus.flush()
                servers[0].signal(signal.SIGUSR2)
                sent = 0
                while not bus.stats().moves or not bus.is_connected:
                    await bus.publish("s", b"%d" % sent)
                    sent += 1
                    await asyncio.sleep(0.001)
                await bus.flush()
                assert where(bus) in (servers[1].url, servers[2].url)
                # All of it; in order as far as one server goes, but who comes by another way may overtake.
                await eventually(lambda: set(got) >= {b"%d" % number for number in range(sent)})
                assert await asked(asker, "q") == b"hi"
                stats = bus.stats()
                assert (stats.moves, stats.disconnects, stats.unconfirmed) == (1, 0, 0)
            servers[0].kill()  # it would take its time

    run(main)


def test_a_frozen_node_is_left_for_another_and_may_thaw(run: Any, cluster: Cluster) -> None:
    async def main() -> None:
        async with cluster() as servers:
            async with NatsBus(servers[0].options()) as bus, NatsBus(servers[1].options()) as asker:
                await joined(bus, servers)
                await joined(asker, servers)
                await echo(bus, "q")
                servers[0].freeze()
                await eventually(lambda: bus.stats().connects == 2 and bus.is_connected)
                assert where(bus) in (servers[1].url, servers[2].url)
                assert "ping" in bus.stats().last_error
                assert await asked(asker, "q") == b"hi"
                servers[0].thaw()
                assert await asked(asker, "q") == b"hi"
                assert asker.stats().disconnects == 0

    run(main)


def test_without_a_quorum_messages_still_flow_jetstream_refuses_and_both_heal(run: Any, cluster: Cluster) -> None:
    async def main() -> None:
        from nats.js.errors import Error as RefusedError

        async with cluster(jetstream=True) as servers:
            async with NatsBus(servers[0].options()) as bus:
                await joined(bus, servers)
                await echo(bus, "q")
                bucket = None
                while bucket is None:
                    try:
                        bucket = await bus.client.jetstream(timeout=1.0).create_key_value(bucket="b", replicas=3)
                    except (RefusedError, TimeoutError):  # the servers are still agreeing on a leader
                        await asyncio.sleep(0.02)
                await bucket.put("k", b"1")
                for server in servers[1:]:
                    server.kill()
                with pytest.raises((RefusedError, TimeoutError)):
                    await bucket.put("k", b"2")
                assert (await bus.request("q", b"hi", 5.0)).payload == b"hi"
                assert bus.stats().disconnects == 0
                await asyncio.gather(*(server.start() for server in servers[1:]))

                async def works() -> bool:
                    try:
                        return bool(await bucket.put("k", b"3"))
                    except (RefusedError, TimeoutError):
                        return False

                while not await works():  # noqa: ASYNC110 - an election; `run` ends a wait that is too long
                    await asyncio.sleep(0.02)
                assert (await bucket.get("k")).value == b"3"

    run(main)
