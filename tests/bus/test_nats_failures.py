"""The failure matrix of docs/nats.md, as far as one server goes: each has one behaviour, a counter and a log line.

What else is in it: absent, killed, frozen and refusing servers in test_nats.py, clusters in test_nats_cluster.py, credentials in
test_nats_creds.py, limits in tests/contracts/test_bus.py.
"""

import asyncio
import json
import logging
import signal
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from actorsys.bus.base import Incoming
from actorsys.bus.nats import NatsBus
from actorsys.errors import Unreachable
from actorsys.testing.waiting import eventually

pytestmark = pytest.mark.slow


async def echo(bus: NatsBus, subject: str) -> None:
    async def handler(incoming: Incoming) -> None:
        await bus.publish(incoming.reply, incoming.payload)

    await bus.subscribe(subject, handler)


async def slow_consumers(server: Any) -> int:
    """How many connections the server has cut because they did not read."""
    url = urlsplit(server.info.monitoring_urls[0])
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(f"GET /varz HTTP/1.0\r\nHost: {url.netloc}\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(json.loads(answer.partition(b"\r\n\r\n")[2])["slow_consumers"])


def test_a_slow_handler_loses_counted_messages_logs_once_a_second_and_stays_connected(
    run: Any, nats_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        caplog.clear()
        async with nats_server() as server, NatsBus(server.options()) as bus, NatsBus(server.options()) as sender:
            await bus.wait_connected(5.0)
            go, handled = asyncio.Event(), []

            async def slow(incoming: Incoming) -> None:
                await go.wait()
                handled.append(incoming.payload)

            subscription = await bus.subscribe("s", slow, max_messages=100)
            await echo(bus, "q")
            began = time.monotonic()
            for number in range(1000):
                await sender.publish("s", b"%d" % number)
            await sender.flush()
            await eventually(lambda: bus.stats().in_messages == 1000)
            assert (await sender.request("q", b"alive", 5.0)).payload == b"alive"
            took = time.monotonic() - began
            go.set()
            await eventually(lambda: len(handled) == 1000 - subscription.dropped)
            assert handled == [b"%d" % number for number in range(len(handled))]  # the oldest are kept
            stats = bus.stats()
            assert (stats.dropped, stats.disconnects) == (subscription.dropped, 0)
            assert stats.dropped >= 899  # one is being handled
        lines = [record for record in caplog.records if "its handler does not keep up" in record.getMessage()]
        assert 1 <= len(lines) <= 1 + took

    run(main)


def test_who_never_reads_is_cut_by_the_server_and_nobody_else_notices(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server(extra='write_deadline: "200ms"') as server:
            url = urlsplit(server.url)
            reader, writer = await asyncio.open_connection(url.hostname, url.port, limit=2**10)
            login = json.dumps({"auth_token": server.info.token, "verbose": False})
            writer.write(f"CONNECT {login}\r\nSUB s 1\r\nPING\r\n".encode())
            await reader.readuntil(b"PONG\r\n")
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            async with NatsBus(server.options()) as bus:
                await bus.wait_connected(5.0)
                await echo(bus, "q")
                for _ in range(64):  # more than sockets hold
                    await bus.publish("s", b"x" * 2**19)
                await bus.flush()
                while not await slow_consumers(server):
                    await bus.publish("s", b"x" * 2**19)
                    await bus.flush()
                assert (await bus.request("q", b"hi", 5.0)).payload == b"hi"
                assert bus.stats().disconnects == 0
            writer.transport.abort()
            await asyncio.sleep(0)

    run(main)


def test_a_bus_that_cannot_read_is_cut_and_comes_back_with_its_subscriptions(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server(extra='write_deadline: "200ms"') as server:
            async with NatsBus(server.options()) as victim, NatsBus(server.options()) as bus:
                got = 0

                async def count(_: Incoming) -> None:
                    nonlocal got
                    got += 1

                await victim.subscribe("s", count)
                await echo(victim, "q")
                await victim.wait_connected(5.0)
                await bus.wait_connected(5.0)
                victim.client._transport._io_writer.transport.pause_reading()  # its process is busy elsewhere
                while not await slow_consumers(server):
                    await bus.publish("s", b"x" * 2**19)
                    await bus.flush()
                await eventually(lambda: victim.stats().connects == 2 and victim.is_connected)
                assert victim.stats().disconnects == 1
                assert (await bus.request("q", b"hi", 5.0)).payload == b"hi"
                before = got
                await bus.publish("s", b"")
                await eventually(lambda: got == before + 1)

    run(main)


USERS = "authorization {{ users: [ {{ user: stays, password: pw }} {more} ] }}"
BOTH = USERS.format(more=", { user: goes, password: pw }")


def test_a_user_that_a_reload_removes_is_out_until_another_reload_and_the_others_stay(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server(authorization=BOTH) as server:
            options = [server.options(user=user, password="pw", refused_max=0.2) for user in ("stays", "goes")]
            async with NatsBus(options[0]) as stays, NatsBus(options[1]) as goes:
                await echo(goes, "q")
                for bus in (stays, goes):
                    await bus.wait_connected(5.0)
                server.reload(authorization=USERS.format(more=""))
                await eventually(lambda: "the login is refused" in goes.reason)
                assert goes.state == "connecting"
                assert stays.is_connected
                server.reload(authorization=BOTH)
                await goes.wait_connected(5.0)
                assert (await stays.request("q", b"hi", 5.0)).payload == b"hi"
                assert (goes.stats().disconnects, stays.stats().disconnects) == (1, 0)

    run(main)


def test_a_lone_server_in_lame_duck_mode_is_used_to_its_end_and_found_again(
    run: Any, nats_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        caplog.clear()
        quick = 'lame_duck_grace_period: "100ms"\nlame_duck_duration: "30s"'
        async with nats_server(extra=quick) as server, NatsBus(server.options()) as bus:
            await bus.wait_connected(5.0)
            await echo(bus, "q")
            server.signal(signal.SIGUSR2)
            await eventually(lambda: "about to stop" in caplog.text)
            assert (await bus.request("q", b"still", 5.0)).payload == b"still"
            server.stop()
            await eventually(lambda: bus.state == "connecting")
            await server.start()
            await bus.wait_connected(5.0)
            assert (await bus.request("q", b"again", 5.0)).payload == b"again"
            assert (bus.stats().moves, bus.stats().disconnects) == (0, 1)
        assert caplog.text.count("about to stop") == 1

    caplog.set_level(logging.INFO, "actorsys.bus")
    run(main)


def test_a_full_outbox_refuses_more_says_so_and_is_sent_in_order_when_the_server_is_back(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server() as server, NatsBus(server.options(outbox_bytes=100_000)) as bus:
            await bus.wait_connected(5.0)
            got: list[bytes] = []

            async def keep(incoming: Incoming) -> None:
                got.append(incoming.payload[:4])

            await bus.subscribe("s", keep)
            server.kill()
            await eventually(lambda: not bus.is_connected)
            sent: list[bytes] = []

            async def fill() -> None:
                while True:
                    await bus.publish("s", b"%04d" % len(sent) + b"x" * 1000)
                    sent.append(b"%04d" % len(sent))

            with pytest.raises(Unreachable, match="leave no room"):
                await fill()
            assert bus.stats().buffered == len(sent) > 50
            await server.start()
            await eventually(lambda: got == sent)
            assert (bus.stats().unsent, bus.stats().buffered) == (0, 0)

    run(main)
