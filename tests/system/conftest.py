"""Whole nodes with real processes: a Supervisor inside the test, or the command in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from actorsys.testing.waiting import until

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.append(HERE)  # an agent's process looks where the host looks: there it finds system_agents

from supervised import Journal  # noqa: E402  # found only now

# Environment that would change what a node does.
OUTSIDE = ("NATS_URL", "LLM_PROVIDER", "LLM_MODEL", "LOG_LEVEL", "ACTORSYS_FILE", "ACTORSYS_SOCKET", "ACTORSYS_OUTPUT")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if str(item.path).startswith(HERE):
            item.add_marker(pytest.mark.slow)  # a node needs 0.3 s to come and go


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OUTSIDE:
        monkeypatch.delenv(name, raising=False)


def _runner(factory: Any) -> Callable[..., Any]:
    def runner(main: Coroutine[Any, Any, Any], timeout: float = 60.0) -> Any:
        with asyncio.Runner(loop_factory=factory) as loop:
            return loop.run(asyncio.wait_for(main, timeout))

    return runner


@pytest.fixture
def run() -> Callable[..., Any]:
    """Run a coroutine to its end."""
    return _runner(uvloop.new_event_loop)


@pytest.fixture(params=[None, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run_on_either(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return _runner(request.param)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory with a path short enough for a socket in it."""
    path = Path(tempfile.mkdtemp(prefix="as-")).resolve()
    yield path
    shutil.rmtree(path)


class Node:
    """`actorsys` in a folder with an agents.toml: `supervise` in the background, other commands beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "agents.toml"
        self.process: subprocess.Popen[bytes] | None = None
        self.env = {**os.environ, "PYTHONPATH": HERE}

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def supervise(self, *, ready: str | None = " is up; control socket: ", into: Path | None = None) -> subprocess.Popen[bytes]:
        """Start it, in the control group with the list of processes `into`; return when it says that it is up."""
        argv = [sys.executable, "-m", "actorsys", "supervise", str(self.file)]
        if into is not None:
            argv = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(into), *argv]
        with open(self.folder / "output", "wb") as output:
            self.process = process = subprocess.Popen(
                argv,
                cwd=self.folder,
                env=self.env,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        if ready is not None:
            until(lambda: ready in self.output or process.poll() is not None)
            assert process.poll() is None, self.output
        return process

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text()

    def call(self, *words: str, code: int = 0) -> str:
        """Run a command; what it printed."""
        argv = [sys.executable, "-m", "actorsys", "-f", str(self.file), *words]
        done = subprocess.run(argv, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stdout + done.stderr + self.output
        return done.stdout if code == 0 else done.stderr

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        """Begin a command; what it prints is to be read from its `stdout`."""
        argv = [sys.executable, "-m", "actorsys", "-f", str(self.file), *words]
        return subprocess.Popen(argv, cwd=self.folder, env=self.env, stdout=subprocess.PIPE)

    def ps(self, name: str | None = None) -> Any:
        rows = json.loads(self.call("ps", "-o", "json"))
        return rows if name is None else next(row for row in rows if row["name"] == name)

    def wait_state(self, name: str, **wanted: Any) -> Any:
        """Its row in `ps`, once it has these values."""

        def row() -> Any:
            found = self.ps(name)
            return found if all(found[key] == value for key, value in wanted.items()) else None

        return until(row)

    def wait_all(self, state: str = "running") -> list[Any]:
        def rows() -> Any:
            found = self.ps()
            return found if all(row["state"] == state for row in found) else None

        return until(rows)

    def wait_output(self, pattern: str, count: int = 1) -> list[str]:
        return until(lambda: found if len(found := re.findall(pattern, self.output)) >= count else None)

    def interrupt(self, number: int = signal.SIGINT, timeout: float = 20.0) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def end(self) -> None:
        process, self.process = self.process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


@pytest.fixture
def node(folder: Path) -> Iterator[Node]:
    node = Node(folder)
    yield node
    node.end()


@pytest.fixture
def second(node: Node) -> Iterator[Node]:
    """Another supervisor on the same file."""
    second = Node(node.folder)
    yield second
    second.end()


@pytest.fixture
def journal(folder: Path) -> Journal:
    return Journal(folder)
