"""One agent's state in each kind of backend, with the server that it needs."""

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from actorsys.memory.base import Memory, MemoryContext, create
from actorsys.testing.nats import require_server, run_server

EXAMPLE = Path(__file__).parents[2] / "examples" / "redis_memory"
REDIS = "redis_memory:RedisMemory"
DURABLE = ["file", "sqlite", "nats_kv", REDIS]
BACKENDS = ["in_memory", *DURABLE]


@contextlib.contextmanager
def redis_server(folder: Path):
    """Its URL; ended on every path. Skips the test where there is no redis-server."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("no redis-server found; `apt-get install redis-server` brings one")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--appendonly", "yes", "--appendfsync", "always"]
    process = subprocess.Popen([binary, *options, "--save", ""], stdout=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < give_up
            time.sleep(0.01)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def redis_example(folder: Path):
    """A server, and the example importable and told of it."""
    with redis_server(folder) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDIS_URL", url)
        patch.syspath_prepend(str(EXAMPLE))
        try:
            yield url
        finally:
            sys.modules.pop("redis_memory", None)


class World:
    """Opens backends of one kind for one agent, as its incarnations would, one after the other."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        self.nats: dict[str, Any] | None = None
        self.opened: list[Memory] = []
        self._exits = contextlib.AsyncExitStack()

    async def __aenter__(self) -> "World":
        if self.kind == "nats_kv":
            require_server()
            server = await self._exits.enter_async_context(run_server(self.folder / "nats"))
            self.nats = {"urls": [server.url], "token": server.info.token}
        if self.kind == REDIS:
            self._exits.enter_context(redis_example(self.folder / "redis"))
        return self

    async def __aexit__(self, *error: object) -> None:
        for memory in self.opened:
            await memory.close()
        await self._exits.aclose()

    def new(self, name: str = "counter/0") -> Memory:
        memory = create(self.kind, MemoryContext(name=name, folder=self.folder / "agents", nats=self.nats))
        self.opened.append(memory)
        return memory

    async def open(self, run: str = "run1", name: str = "counter/0"):
        memory = self.new(name)
        return memory, await memory.open(run)

    async def again(self, run: str = "run1", name: str = "counter/0"):
        """The next incarnation, after a crash: nothing was closed."""
        return await self.open(run, name)
