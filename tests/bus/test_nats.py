"""The bus over NATS where things go wrong; what it shares with the local bus is in tests/contracts/test_bus.py."""

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from actorsys.bus.base import Incoming
from actorsys.bus.nats import NatsBus
from actorsys.bus.nats_options import NatsOptions
from actorsys.errors import AskTimeout, BadMessage, ConfigError, Unreachable
from actorsys.testing.nats import eventually


async def ignore(_: Incoming) -> None: ...


def echo(bus: NatsBus) -> Callable[[Incoming], Any]:
    async def handler(incoming: Incoming) -> None:
        await bus.publish(incoming.reply, incoming.payload)

    return handler


async def fake_server(lines: bytes, *, close: bool = False, said: asyncio.Event | None = None) -> tuple[asyncio.Server, str]:
    """Something that listens, says `lines`, and then nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(lines)
        if said is not None:
            said.set()
        if not close:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def test_importing_the_bus_does_not_import_nats() -> None:
    modules = "actorsys.bus.base, actorsys.bus.nats, actorsys.bus.local, actorsys.bus.envelope, actorsys.bus.nats_server"
    code = f"import sys, {modules}; sys.exit('nats' in sys.modules or 'aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_a_server_that_is_absent_at_the_start_and_appears_later(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server() as server:
            server.kill()
            began = time.monotonic()
            bus = NatsBus(server.options())
            await bus.start()
            assert time.monotonic() - began < 0.1
            got = []

            async def keep(incoming: Incoming) -> None:
                got.append(incoming.payload)

            await bus.subscribe("s", keep)
            await bus.publish("s", b"early")
            await eventually(lambda: bus.stats().errors > 2)
            assert bus.state == "connecting"
            assert "Errno 111" in bus.reason
            with pytest.raises(Unreachable, match=r"NATS \(nats://127.0.0.1:\d+\) is not connected"):
                await bus.request("s", b"", 60.0)
            await server.start()
            await bus.wait_connected(2.0)
            await eventually(lambda: got == [b"early"])
            await bus.close()

    run(main)


@pytest.mark.slow
def test_twenty_buses_are_back_within_two_seconds_of_the_server(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server() as server:
            buses = [NatsBus(server.options(), name=f"agent{number}") for number in range(20)]
            for number, bus in enumerate(buses):
                await bus.start()
                await bus.subscribe(f"q{number}", echo(bus))
            await asyncio.gather(*(bus.wait_connected(5.0) for bus in buses))
            server.kill()
            await eventually(lambda: not any(bus.is_connected for bus in buses))
            await eventually(lambda: all(bus.stats().errors >= 4 for bus in buses), 20.0)  # the backoff has grown
            await server.start()
            async with asyncio.timeout(2.0):
                await asyncio.gather(*(bus.wait_connected(2.0) for bus in buses))
                for number in range(20):
                    await buses[0].request(f"q{number}", b"", 1.0)
            await asyncio.gather(*(bus.close() for bus in buses))

    run(main)


@pytest.mark.slow
def test_killed_and_restarted_under_load(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server() as server:
            async with NatsBus(server.options()) as asker, NatsBus(server.options()) as answerer:
                await answerer.subscribe("q", echo(answerer), queue="g")
                await asker.wait_connected(5.0)
                await answerer.wait_connected(5.0)
                outcomes: list[str] = []
                stop = False

                async def load() -> None:
                    while not stop:
                        try:
                            await asker.request("q", b"x", 0.2)
                            outcomes.append("ok")
                        except (Unreachable, AskTimeout, LookupError) as error:
                            outcomes.append(type(error).__name__)
                            await asyncio.sleep(0.005)

                tasks = [asyncio.create_task(load()) for _ in range(8)]
                for _ in range(3):
                    await eventually(lambda: outcomes.count("ok") > 200)
                    server.kill()
                    await eventually(lambda: "Unreachable" in outcomes[-8:])
                    await server.start()
                    outcomes.clear()
                await eventually(lambda: outcomes.count("ok") > 200)
                stop = True
                await asyncio.gather(*tasks)
                assert asker.stats().connects == 4

    run(main)


@pytest.mark.slow
def test_a_frozen_server_is_noticed_and_a_thawed_one_found(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server() as server, NatsBus(server.options()) as bus:
            await bus.subscribe("q", echo(bus))
            await bus.wait_connected(5.0)
            server.freeze()
            await eventually(lambda: bus.state == "connecting", 3.0)
            assert "ping" in bus.reason
            with pytest.raises(Unreachable):
                await bus.request("q", b"", 60.0)
            server.thaw()
            await bus.wait_connected(5.0)
            assert (await bus.request("q", b"hi", 5.0)).payload == b"hi"

    run(main)


@pytest.mark.slow
def test_a_frozen_server_with_a_full_socket_does_not_block_a_publisher_for_ever(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server() as server, NatsBus(server.options()) as bus:
            await bus.wait_connected(5.0)
            server.freeze()

            async def flood() -> None:
                while True:
                    await bus.publish("s", b"x" * 2**19)

            with pytest.raises(Unreachable, match="no room"):
                await flood()
            assert bus.stats().unconfirmed > 0
            server.thaw()
            await bus.wait_connected(5.0)

    run(main)


@pytest.mark.slow
def test_a_refused_login_says_so_is_retried_slowly_and_logged_once(
    run: Any, nats_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with nats_server() as server, NatsBus(server.options(token="wrong-secret")) as bus:
            await eventually(lambda: "refused" in bus.reason)
            assert bus.state == "connecting"
            with pytest.raises(Unreachable, match=r"(?i)the login is refused.*authorization violation"):
                await bus.wait_connected(1.0)
            assert bus.stats().errors < 5

    caplog.set_level(logging.DEBUG, "actorsys.bus")
    run(main)
    assert len([record for record in caplog.records if "refused" in record.getMessage()]) == 1
    assert "wrong-secret" not in caplog.text


PERMISSIONS = """
authorization {
  users: [
    { user: root, password: root },
    { user: me, password: pw, permissions: { publish: ["ok.>", "_INBOX.>"], subscribe: ["ok.>", "_INBOX.>"] } }
  ]
}
"""


def test_a_refused_permission_fails_what_it_belongs_to_and_nothing_else(
    run: Any, nats_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with nats_server(authorization=PERMISSIONS) as server:
            async with NatsBus(server.options(user="me", password="pw")) as bus:
                await bus.wait_connected(5.0)
                await bus.subscribe("ok.q", echo(bus))
                with pytest.raises(ConfigError, match=r"does not permit these credentials to subscribe on 'no\.sub'"):
                    await bus.subscribe("No.Sub", ignore)
                with pytest.raises(ConfigError):
                    await bus.subscribe("no.sub", ignore, queue="g")
                assert bus.stats().subscriptions == 1
                async with asyncio.timeout(2.0):
                    with pytest.raises(ConfigError, match=r"to publish on 'no\.pub'"):
                        await bus.request("No.Pub", b"", 60.0)
                for _ in range(5):
                    await bus.publish("no.pub", b"")
                await bus.flush()
                assert bus.stats().permission_errors == 8
                assert (await bus.request("ok.q", b"fine", 5.0)).payload == b"fine"
                assert bus.stats().disconnects == 0

    run(main)
    assert len([record for record in caplog.records if "no.pub" in record.getMessage()]) == 1


TAKEN = "authorization {{ users: [ {{ user: me, password: pw {} }} ] }}"


@pytest.mark.slow
def test_a_permission_that_is_taken_away_and_given_back_needs_no_new_connection(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server(authorization=TAKEN.format("")) as server:
            login = {"user": "me", "password": "pw"}
            async with NatsBus(server.options(**login), inbox_prefix="_I") as bus, NatsBus(server.options(**login)) as asker:
                await bus.subscribe("q", echo(bus), queue="g")
                for each in (bus, asker):
                    await each.wait_connected(5.0)
                assert (await asker.request("q", b"1", 5.0)).payload == b"1"
                for denied, heard in (('"q"', bus), ('"_INBOX.>"', asker)):
                    server.reload(authorization=TAKEN.format(f", permissions: {{ subscribe: {{ deny: [{denied}] }} }}"))
                    await eventually(lambda heard=heard: heard.stats().permission_errors > 2 and heard.stats().refused == 1)
                    server.reload(authorization=TAKEN.format(""))
                    await eventually(lambda heard=heard: heard.stats().refused == 0)
                    await heard.flush()
                    assert heard.stats().refused == 0
                    assert (await asker.request("q", b"2", 5.0)).payload == b"2"
                assert (bus.stats().connects, asker.stats().connects) == (1, 1)

    run(main)


@pytest.mark.slow
def test_a_connection_the_server_closes_for_good_is_rebuilt(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server() as server, NatsBus(server.options()) as bus:
            await bus.subscribe("q", echo(bus))
            await bus.wait_connected(5.0)
            # Stock nats-py ends CLOSED, for good, on any error it does not know, such as this one.
            bus.client._transport.write(b"NONSENSE\r\n")
            await eventually(lambda: bus.stats().disconnects == 1)
            await bus.wait_connected(5.0)
            assert (await bus.request("q", b"hi", 5.0)).payload == b"hi"
            assert "unknown protocol operation" in bus.stats().last_error
            bus.client._transport.write(b"PUB q 5000000\r\n")
            await eventually(lambda: bus.stats().disconnects == 2)
            await bus.wait_connected(5.0)
            assert (await bus.request("q", b"hi", 5.0)).payload == b"hi"

    run(main)


@pytest.mark.slow
def test_an_answer_that_was_under_way_when_the_server_restarted_still_arrives(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server() as server, NatsBus(server.options()) as asker, NatsBus(server.options()) as answerer:
            asked, go = asyncio.Event(), asyncio.Event()

            async def slow(incoming: Incoming) -> None:
                asked.set()
                await go.wait()
                await answerer.publish(incoming.reply, b"late")

            await asker.wait_connected(5.0)
            await answerer.wait_connected(5.0)
            await answerer.subscribe("q", slow)
            answer = asyncio.create_task(asker.request("q", b"", 10.0))
            await asked.wait()
            server.kill()
            await eventually(lambda: not asker.is_connected and not answerer.is_connected)
            await server.start()
            await asker.wait_connected(5.0)
            go.set()
            assert (await answer).payload == b"late"

    run(main)


def test_flush_means_that_the_server_has_it(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server() as server, NatsBus(server.options()) as one, NatsBus(server.options()) as two:
            await one.wait_connected(5.0)
            await two.wait_connected(5.0)
            got = []

            async def keep(incoming: Incoming) -> None:
                got.append(incoming)

            for number in range(50):
                subscription = await one.subscribe(f"s{number}", keep)
                await two.publish(f"s{number}", b"")  # the subscription is in effect, or this one is missed
                await two.flush()
                await one.flush()
                await subscription.drain()
                assert len(got) == number + 1

    run(main)


ODD = [
    b"PUB odd \xff 0\r\n\r\n",
    b"PUB odd.\xff 0\r\n\r\n",
    b"HPUB odd r 2 2\r\n\r\n\r\n",
    b"HPUB odd r 1 1\r\nN\r\n",
    b"HPUB odd r 6 8\r\nxx\r\n\r\nhi\r\n",
]


@pytest.mark.parametrize("odd", ODD)
def test_a_message_that_cannot_be_read_is_dropped_and_counted_and_the_next_one_is_read(
    run: Any, nats_server: Any, odd: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        caplog.clear()
        async with nats_server(token="t") as server, NatsBus(server.options(ping_interval=60.0)) as bus:
            await bus.wait_connected(5.0)
            await bus.subscribe("odd", ignore)
            await bus.subscribe("odd.*", ignore)
            await bus.subscribe("q", echo(bus))
            url = urlsplit(server.url)
            reader, writer = await asyncio.open_connection(url.hostname, url.port)
            writer.write(b'CONNECT {"auth_token":"t","verbose":false,"headers":true}\r\n' + odd + b"PING\r\n")
            await reader.readuntil(b"PONG\r\n")
            assert (await bus.request("q", b"alive", 5.0)).payload == b"alive"
            assert (bus.stats().dropped, bus.stats().disconnects) == (1, 0)
            writer.transport.abort()
            await asyncio.sleep(0)
        assert "cannot be read" in caplog.text

    run(main)


def test_a_connection_that_is_not_read_any_more_is_lost_at_once(run: Any) -> None:
    async def main() -> None:
        connections: list[asyncio.StreamWriter] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(writer)
            writer.write(b'INFO {"server_id":"x","version":"2.10.0","max_payload":1048576,"headers":true}\r\n')
            while line := await reader.readline():
                if line.startswith(b"PING"):
                    writer.write(b"PONG\r\n")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with NatsBus(NatsOptions.parse(url, ping_interval=60.0)) as bus:
            await bus.wait_connected(5.0)
            connections[0].write(b"INFO {]\r\n")
            await eventually(lambda: bus.stats().connects == 2)
            assert bus.stats().disconnects == 1
        server.close()
        await server.wait_closed()

    run(main)


def test_closing_at_any_turn_of_connecting_ends_and_leaves_nothing(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server() as server:
            for turns in range(48):
                bus = NatsBus(server.options())
                await bus.start()
                for _ in range(turns):
                    await asyncio.sleep(0)
                async with asyncio.timeout(5.0):
                    await bus.close()
                assert (bus.state, bus.is_connected) == ("off", False)

    run(main)


@pytest.mark.parametrize("lines", [b"", b"HELLO\r\n", b"INFO {]\r\n", b"INFO {}\r\n", b"-ERR 'no'\r\n"])
@pytest.mark.parametrize("close", [True, False])
def test_closing_in_the_middle_of_connecting_leaves_nothing(run: Any, lines: bytes, close: bool) -> None:
    async def main() -> None:
        said = asyncio.Event()
        server, url = await fake_server(lines, close=close, said=said)
        bus = NatsBus(NatsOptions.parse(url, connect_timeout=0.3))
        await bus.start()
        async with asyncio.timeout(5.0):
            await said.wait()
        async with asyncio.timeout(2.5):
            await bus.close()
        server.close()
        await server.wait_closed()

    run(main)


@pytest.mark.slow
def test_several_servers_are_tried_in_turn(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server() as one, nats_server() as two:
            urls = tuple(f"{server.url.replace('//', f'//{server.info.token}@')}" for server in (one, two))
            bus = NatsBus(NatsOptions(urls=urls))
            async with bus:
                await bus.wait_connected(5.0)
                one.kill()
                await bus.publish("s", b"")
                await eventually(lambda: bus.stats().connects == 2 and bus.is_connected)
                two.kill()
                await eventually(lambda: not bus.is_connected)
                await one.start()
                await bus.wait_connected(5.0)
            assert one.info.token not in bus.stats().last_error

    run(main)


def test_a_bus_without_a_server_can_be_closed_at_once(run: Any) -> None:
    async def main() -> None:
        bus = NatsBus(NatsOptions.parse("nats://127.0.0.1:1"))
        await bus.close()
        bus = NatsBus(NatsOptions.parse("nats://127.0.0.1:1"))
        await bus.start()
        await bus.close()
        assert bus.state == "off"

    run(main)


def test_a_smaller_limit_of_the_next_server_is_counted(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server(max_payload=1000) as server:
            server.kill()
            bus = NatsBus(server.options())
            await bus.start()
            await bus.publish("s", b"x" * 2000)
            await bus.publish("s", b"x")
            await server.start()
            await bus.wait_connected(5.0)
            assert (bus.stats().unsent, bus.stats().out_messages) == (1, 1)
            with pytest.raises(BadMessage, match="at most 1000"):
                await bus.publish("s", b"x" * 1001)
            await bus.close()

    run(main)


def test_a_wrong_tls_file_is_reported_and_never_raised_by_start(run: Any) -> None:
    async def main() -> None:
        async with NatsBus(NatsOptions.parse("tls://127.0.0.1:1", tls_ca="/nowhere/ca.pem")) as bus:
            await eventually(lambda: "TLS files (/nowhere/ca.pem) cannot be used" in bus.reason)

    run(main)


@pytest.mark.slow
def test_a_cluster_is_learned_from_one_of_its_servers(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        ports = []
        for _ in range(2):
            listener = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
            ports.append(listener.sockets[0].getsockname()[1])
            listener.close()
            await listener.wait_closed()
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
        extra = [f'cluster {{ name: c, listen: "127.0.0.1:{port}", routes: [{routes}] }}' for port in ports]
        async with AsyncExitStack() as stack:  # both at once: JetStream is ready only when they have found each other
            both = [stack.enter_async_context(nats_server(extra=text, token="t")) for text in extra]
            one, two = await asyncio.gather(*both)
            async with NatsBus(one.options()) as bus:
                await bus.wait_connected(5.0)
                await bus.subscribe("q", echo(bus))
                await eventually(lambda: bus.client.discovered_servers)
                one.kill()
                await eventually(lambda: bus.stats().connects == 2 and bus.is_connected)
                assert bus.client.connected_url.netloc == two.url.partition("//")[2]
                assert (await bus.request("q", b"hi", 5.0)).payload == b"hi"

    run(main)
