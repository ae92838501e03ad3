"""Servers for the tests of the bus; each test gets its own, which takes 40 ms."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from actorsys.testing.nats import Server, require_server, run_server

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
RunServer = Callable[..., AbstractAsyncContextManager[Server]]
Run = Callable[[Callable[[], Awaitable[Any]]], Any]


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Run an async function on each of the two loops; it must end within 30 s and leave no task behind."""

    def runner(main: Callable[[], Awaitable[Any]]) -> Any:
        async def guarded() -> Any:
            async with asyncio.timeout(30):
                result = await main()
            await asyncio.sleep(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"tasks left behind: {left}"
            return result

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as loop:
            return loop.run(guarded())

    return runner


@pytest.fixture
def nats_server(tmp_path: Path) -> RunServer:
    """`async with nats_server(...) as server`; takes the arguments of `run_server`."""
    require_server()
    count = iter(range(100))

    @asynccontextmanager
    async def start(**options: Any) -> AsyncIterator[Server]:
        async with run_server(tmp_path / f"nats{next(count)}", **options) as server:
            yield server

    return start
