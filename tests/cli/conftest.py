import json
import socketserver
import tempfile
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from actorsys.cli.main import cli


class ControlServer(socketserver.ThreadingUnixStreamServer):
    """A control socket that answers each command with what `answers` has for it, and keeps the requests."""

    daemon_threads = True
    block_on_close = True

    def __init__(self, path):
        super().__init__(str(path), Handler)
        self.path = path
        self.answers = {}
        self.requests = []

    def answer(self, command, data):
        self.answers[command] = json.dumps({"ok": True, "data": data}).encode() + b"\n"

    def fail(self, command, kind, message, **more):
        error = {"kind": kind, "type": kind, "message": message, "traceback": "", "details": {}, **more}
        self.answers[command] = json.dumps({"ok": False, "error": error}).encode() + b"\n"


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        request = json.loads(self.rfile.readline())
        self.server.requests.append(request)
        self.wfile.write(self.server.answers[request["do"]])


@pytest.fixture
def server():
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # short enough for a socket
        with ControlServer(Path(folder) / "control.sock") as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            yield server
            server.shutdown()
            thread.join()


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a command line in an empty directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("NATS_URL", "LLM_PROVIDER", "LLM_MODEL", "ACTORSYS_FILE", "ACTORSYS_SOCKET", "ACTORSYS_OUTPUT"):
        monkeypatch.delenv(name, raising=False)

    def run(*words, **extra):
        return CliRunner().invoke(cli, [str(word) for word in words], prog_name="actorsys", **extra)

    return run


@pytest.fixture
def reach(run, server):
    """Run a command line against the server."""
    return lambda *words, **extra: run("--socket", server.path, *words, **extra)
