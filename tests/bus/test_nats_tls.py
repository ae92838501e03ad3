"""TLS, with a certificate authority of the test's own."""

import sys
from pathlib import Path
from typing import Any

import pytest

from actorsys.bus.base import Incoming
from actorsys.bus.nats import NatsBus
from actorsys.testing.nats import eventually

sys.path.append(str(Path(__file__).parent))

from own_ca import certificates  # found only now

pytestmark = pytest.mark.slow


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return certificates(tmp_path)


def test_both_sides_show_a_certificate(run: Any, nats_server: Any, keys: Path) -> None:
    files = {"tls_ca": str(keys / "ca.pem"), "tls_cert": str(keys / "cert.pem"), "tls_key": str(keys / "key.pem")}
    extra = f'tls {{ cert_file: "{keys}/cert.pem", key_file: "{keys}/key.pem", ca_file: "{keys}/ca.pem", verify: true }}'

    async def main() -> None:
        async with nats_server(extra=extra) as server:
            async with NatsBus(server.options(**files, tls_hostname="nats.test")) as bus:

                async def echo(incoming: Incoming) -> None:
                    await bus.publish(incoming.reply, incoming.payload)

                await bus.wait_connected(5.0)
                await bus.subscribe("q", echo)
                assert (await bus.request("q", b"x" * 100_000, 5.0)).payload == b"x" * 100_000
                server.kill()
                await eventually(lambda: not bus.is_connected)
                await server.start()
                await bus.wait_connected(5.0)
            async with NatsBus(server.options(tls_ca=files["tls_ca"], tls_hostname="other.test")) as bus:
                await eventually(lambda: "mismatch" in bus.reason.lower())
            async with NatsBus(server.options(tls_ca=files["tls_ca"], tls_hostname="nats.test")) as bus:
                await eventually(lambda: bus.stats().errors >= 2)  # it shows none of its own
                assert bus.state == "connecting"
                assert bus.reason
            async with NatsBus(server.options()) as bus:
                await eventually(lambda: "certificate verify failed" in bus.reason.lower())

    run(main)
