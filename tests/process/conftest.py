"""Real processes, and waits for conditions instead of sleeps."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from actorsys.process.launcher import Launcher, Order, Process
from actorsys.process.procfs import Procfs
from actorsys.process.sweep import remains_of, sweep

HERE = str(Path(__file__).parent)


class Home:
    """A launcher, and what it launched in a test."""

    def __init__(self, launcher: Launcher) -> None:
        self.launcher = launcher
        self.processes: list[Process] = []
        self._numbers = iter(range(1, 10_000))

    async def launch(self, entry: str, payload: bytes = b"", *, name: str = "agent", **more: Any) -> Process:
        entry = entry if ":" in entry else f"entries:{entry}"
        order = Order(name=name, incarnation=next(self._numbers), entry=entry, payload=payload, **more)
        process = await self.launcher.launch(order)
        self.processes.append(process)
        return process

    async def end(self, process: Process) -> Any:
        """Its status and all of its output."""
        status = await asyncio.wait_for(asyncio.shield(process.exited), 10)
        output = b""
        while part := process.read_output():
            output += part
        process.close()
        return status, output.decode()

    @property
    def keeper(self) -> int:
        assert self.launcher._nursery.keeper is not None
        return self.launcher._nursery.keeper.pid

    @staticmethod
    async def hear(process: Process, timeout: float = 10.0) -> bytes:
        """The next message of an agent."""
        assert process.connection is not None
        assert await Home.soon(process.connection.poll, timeout), "the agent said nothing"
        return process.connection.recv_bytes()

    @staticmethod
    async def soon(condition: Callable[[], Any], timeout: float = 5.0) -> Any:
        """Poll until the condition holds; what it gave last."""
        until = time.monotonic() + timeout
        while not (value := condition()) and time.monotonic() < until:  # noqa: ASYNC110  # other processes set no event of ours
            await asyncio.sleep(0.002)
        return value

    @staticmethod
    def is_alive(pid: int) -> bool:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
        except OSError:
            return False

    def zygote(self) -> int:
        """Its pid: the child of the keeper that is marked as none of the agents."""
        mark = f"{self.launcher.run}//{self.launcher._nursery.zygote_number}"
        (pid,) = [pid for pid in remains_of(self.launcher.run) if Procfs().mark(pid) == mark and os.getsid(pid) == pid]
        return pid


@asynccontextmanager
async def _home(**more: Any) -> AsyncIterator[Home]:
    run = f"test-{uuid.uuid4().hex[:12]}"
    launcher = Launcher(run, path=[HERE], **more)
    here = Home(launcher)
    try:
        await launcher.start()
        yield here
    finally:
        await launcher.close()
        for process in here.processes:
            process.close()
    assert remains_of(run) == []


@pytest.fixture
def home() -> Callable[..., AbstractAsyncContextManager[Home]]:
    return _home


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[Any]], Any]:
    """Run a coroutine to its end, on either loop."""

    def runner(main: Any) -> Any:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop if request.param == "uvloop" else None) as loop:
            return loop.run(asyncio.wait_for(main, 60))

    return runner


@pytest.fixture
def run_id() -> Iterator[str]:
    """The run of a supervisor in another process; nothing of it stays."""
    run = f"test-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    yield run
    assert sweep(run, 2.0) == []
