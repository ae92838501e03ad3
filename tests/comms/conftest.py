"""A loop for each test, a real server where one is needed, and an agent to talk to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from actorsys.testing.nats import Server, require_server, run_server

Run = Callable[[Callable[[], Awaitable[Any]]], Any]


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NATS_URL", "NATS_CONNECTION_TIMEOUT", "NATS_MESSAGE_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run() -> Run:
    """Run an async function; it must end within 60 s and leave no task behind."""

    def runner(main: Callable[[], Awaitable[Any]]) -> Any:
        async def guarded() -> Any:
            async with asyncio.timeout(60):
                result = await main()
            await asyncio.sleep(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"tasks left behind: {left}"
            return result

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
            return loop.run(guarded())

    return runner


@pytest.fixture
def nats_server(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Server]]:
    """`async with nats_server() as server`: one with a token; takes the arguments of `run_server`."""
    require_server()

    @asynccontextmanager
    async def start(**options: Any) -> AsyncIterator[Server]:
        async with run_server(tmp_path / "nats", **options) as server:
            yield server

    return start
