"""The bus over a websocket. A session of aiohttp that is left open shows as a ResourceWarning, which is an error."""

import asyncio
import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from actorsys.bus.base import Incoming
from actorsys.bus.nats import NatsBus
from actorsys.bus.nats_options import NatsOptions
from actorsys.testing.nats import Server
from actorsys.testing.waiting import eventually

sys.path.append(str(Path(__file__).parent))

from own_ca import certificates  # found only now


def options(server: Server, **changes: Any) -> NatsOptions:
    timers = {"ping_interval": 0.2, "ping_timeout": 0.4, "reconnect_max": 0.2}
    return NatsOptions.parse(server.info.websocket_urls[0], **{"token": server.info.token, **timers, **changes})


async def echo(bus: NatsBus, subject: str) -> None:
    async def handler(incoming: Incoming) -> None:
        await bus.publish(incoming.reply, incoming.payload)

    await bus.subscribe(subject, handler)


async def nothing_open() -> None:
    """Fail if a session of aiohttp is left, or a socket of one."""
    from aiohttp import ClientSession

    await asyncio.sleep(0)
    gc.collect()
    assert [found for found in gc.get_objects() if isinstance(found, ClientSession) and not found.closed] == []


@pytest.mark.slow
def test_the_server_is_killed_frozen_and_stopped_and_each_time_found_again_without_a_leak(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server(websocket=True) as server:
            async with NatsBus(options(server)) as bus, NatsBus(server.options(reconnect_max=0.2)) as asker:
                await echo(bus, "q")
                for _ in range(2):
                    for end in (server.kill, server.stop):
                        await bus.wait_connected(5.0)
                        await asker.wait_connected(5.0)
                        assert (await asker.request("q", b"x" * 100_000, 5.0)).payload == b"x" * 100_000
                        end()
                        errors = bus.stats().errors
                        await eventually(lambda errors=errors: bus.stats().errors >= errors + 2 and not asker.is_connected)
                        await server.start()
                await bus.wait_connected(5.0)
                server.freeze()
                await eventually(lambda: not bus.is_connected)
                server.thaw()
                await bus.wait_connected(5.0)
                await asker.wait_connected(5.0)
                assert (await asker.request("q", b"hi", 5.0)).payload == b"hi"
            await nothing_open()

    run(main)


@pytest.mark.slow
def test_requests_under_load_over_a_websocket_all_end(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server(websocket=True) as server:
            async with NatsBus(options(server)) as asker, NatsBus(options(server)) as answerer:
                await answerer.subscribe("q", lambda incoming: answerer.publish(incoming.reply, incoming.payload), concurrency=8)
                await asker.wait_connected(5.0)
                await answerer.wait_connected(5.0)
                await answerer.flush()
                answers = await asyncio.gather(*(asker.request("q", b"%d" % number, 10.0) for number in range(500)))
                assert [answer.payload for answer in answers] == [b"%d" % number for number in range(500)]
            await nothing_open()

    run(main)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 404 Not Found\r\n\r\n", b"nonsense\r\n\r\n"])
def test_what_is_no_websocket_listener_is_reported_and_leaves_nothing_open(run: Any, answer: bytes) -> None:
    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with NatsBus(NatsOptions.parse(url)) as bus:
            await eventually(lambda: bus.stats().errors >= 2)
            assert bus.state == "connecting"
            assert bus.reason
        await nothing_open()
        server.close()
        await server.wait_closed()

    run(main)


@pytest.mark.slow
def test_wss_with_our_own_authority(run: Any, nats_server: Any, tmp_path: Path) -> None:
    keys = certificates(tmp_path)
    listener = f'websocket {{ listen: "127.0.0.1:-1", tls {{ cert_file: "{keys}/cert.pem", key_file: "{keys}/key.pem" }} }}'

    async def main() -> None:
        async with nats_server(extra=listener) as server:
            url = server.info.websocket_urls[0]
            assert url.startswith("wss://127.0.0.1:")
            async with NatsBus(options(server, tls_ca=str(keys / "ca.pem"))) as bus:
                await bus.wait_connected(5.0)
                await echo(bus, "q")
                assert (await bus.request("q", b"x" * 100_000, 5.0)).payload == b"x" * 100_000
            async with NatsBus(options(server)) as bus:
                await eventually(lambda: "certificate verify failed" in bus.reason.lower())
            await nothing_open()

    run(main)


def test_a_zygote_has_nats_without_aiohttp_and_its_agents_may_have_both() -> None:
    code = """
import sys
import actorsys, actorsys.bus.nats, actorsys.supervision.supervisor, actorsys.runtime.remote, actorsys.bus.nats_light
assert "nats.aio.client" in sys.modules
assert "aiohttp" not in sys.modules
import asyncio
from actorsys.bus.nats_websocket import WebSocket
async def main():
    await WebSocket().wait_closed()
asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-W", "error", "-c", code], check=False).returncode == 0
