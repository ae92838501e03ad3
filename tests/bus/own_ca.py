"""A certificate authority of the test's own, and a certificate for a server or client on loopback."""

import subprocess
from pathlib import Path

import pytest

COMMANDS = """
req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem
req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout key.pem -out csr.pem
x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out cert.pem
"""


def certificates(folder: Path) -> Path:
    """`ca.pem`, `cert.pem` and `key.pem` in the folder; the certificate is for nats.test and 127.0.0.1."""
    (folder / "ext").write_text("subjectAltName=DNS:nats.test,IP:127.0.0.1\n")
    try:
        for command in COMMANDS.strip().splitlines():
            subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"openssl cannot make certificates here: {error}")
    return folder
