"""The embedded server of a node, kept alive: with a real launcher and a real nats-server behind a script."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from actorsys.bus import nats_server
from actorsys.process.launcher import Launcher
from actorsys.spec import NatsSpec
from actorsys.supervision import nats as kept
from actorsys.supervision.nats import Nats
from actorsys.testing.nats import require_server
from actorsys.testing.waiting import eventually

pytestmark = pytest.mark.slow

SCRIPT = """#!/bin/sh
echo $$ >> {pids}
if [ "$(wc -l < {pids})" -eq {slow} ]; then sleep 60; fi
exec {binary} "$@"
"""


class Kept:
    """The `Nats` of a node, and the process of each start of its server."""

    def __init__(self, nats: Nats, pids: Path) -> None:
        self.nats = nats
        self._pids = pids

    @property
    def starts(self) -> list[int]:
        return [int(line) for line in self._pids.read_text().split()]

    async def kill(self, starts: int) -> None:
        """Kill the server; return when it was started so often and is ready."""
        psutil.Process(self.starts[-1]).kill()
        (self.nats._folder.parent / "nats.json").unlink(missing_ok=True)
        await self.ready(starts)

    async def ready(self, starts: int) -> None:
        await eventually(lambda: len(self.starts) == starts and (self.nats._folder.parent / "nats.json").is_file())


@pytest.fixture
def keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """`async with keep() as kept`; the start with the number `slow` takes too long."""
    require_server()

    @asynccontextmanager
    async def keep(slow: int = 0) -> AsyncIterator[Kept]:
        script, pids = tmp_path / "server", tmp_path / "pids"
        script.write_text(SCRIPT.format(pids=pids, slow=slow, binary=nats_server.find_server()))
        script.chmod(0o700)
        monkeypatch.setenv(nats_server.OVERRIDE, str(script))
        launcher = Launcher(f"test-{uuid.uuid4().hex[:12]}")
        nats = Nats(NatsSpec(mode="embedded"), launcher, tmp_path / "state" / "nats", "n")
        try:
            await launcher.start()
            await nats.start()
            yield Kept(nats, pids)
        finally:
            await nats.close()
            await launcher.close()

    return keep


def test_a_server_that_starts_too_slowly_is_killed_before_the_next_try(keep, monkeypatch):
    async def main():
        async with keep(slow=2) as node:
            monkeypatch.setattr(kept, "READY_TIMEOUT", 1.0)
            await node.kill(starts=3)
            assert not psutil.pid_exists(node.starts[1])
            assert node.nats.server_pid == node.starts[2]

    asyncio.run(main())


def test_the_first_restart_comes_at_once_and_a_server_that_lives_shortly_waits(keep, monkeypatch):
    async def main():
        async with keep() as node:
            monkeypatch.setattr(kept, "RESTART_WAIT", 1.0)
            await node.kill(starts=2)
            began = time.monotonic()
            await node.kill(starts=3)
            assert time.monotonic() - began >= 1.0

    asyncio.run(main())


def test_a_folder_that_cannot_be_written_for_a_while_is_no_reason_to_give_up(keep, caplog):
    async def main():
        async with keep() as node:
            where = node.nats._folder.parent / "nats.json"
            where.unlink()
            where.mkdir()
            psutil.Process(node.starts[-1]).kill()
            await eventually(lambda: len(node.starts) >= 3)
            where.rmdir()
            await eventually(where.is_file)
            await eventually(lambda: psutil.pid_exists(node.nats.server_pid))
        assert "Is a directory" in caplog.text

    asyncio.run(main())
