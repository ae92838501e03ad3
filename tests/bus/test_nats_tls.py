"""TLS, with a certificate authority of the test's own."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from actorsys.bus.base import Incoming
from actorsys.bus.nats import NatsBus
from actorsys.testing.nats import eventually

pytestmark = pytest.mark.slow

COMMANDS = """
req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem
req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout key.pem -out csr.pem
x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out cert.pem
"""


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    (tmp_path / "ext").write_text("subjectAltName=DNS:nats.test,IP:127.0.0.1\n")
    try:
        for command in COMMANDS.strip().splitlines():
            subprocess.run(["openssl", *command.split()], cwd=tmp_path, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"openssl cannot make certificates here: {error}")
    return tmp_path


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
            async with NatsBus(server.options()) as bus:
                await eventually(lambda: "certificate verify failed" in bus.reason.lower())

    run(main)
