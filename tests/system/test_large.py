"""Messages of many megabytes: what they cost while they come, and that nothing of it stays."""

import asyncio
import os
import re
import signal
from pathlib import Path

from large_agents import Blob, Mirror, Pid

from actorsys import Supervisor
from actorsys.testing.waiting import eventually

MIB = 2**20


def faults(pid):
    """Pages that the kernel had to find for a process so far."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])


def own_bytes(pid):
    """Memory that a process shares with no file."""
    (kib,) = re.findall(r"^RssAnon:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(kib) * 1024


def test_large_messages_are_read_into_pages_that_are_there_already(run):
    async def main():
        async with Supervisor() as sup:
            mirror = await sup.spawn(Mirror, name="mirror")
            pids, data = (os.getpid(), await mirror.ask(Pid())), bytes(MIB)
            before = []
            for number in range(25):
                if number == 5:
                    before = [faults(pid) for pid in pids]
                assert await mirror.ask(Blob(data)) == data
            each = [(faults(pid) - count) / 20 for pid, count in zip(pids, before, strict=True)]
            assert max(each) < 64, each  # 1 MiB is 256 pages, and it is copied four times on either side

    run(main())


def test_an_agent_gives_back_what_large_messages_took_once_no_more_come(run):
    async def main():
        async with Supervisor() as sup:
            mirror = await sup.spawn(Mirror, name="mirror")
            pid = await mirror.ask(Pid())
            before = own_bytes(pid)
            for _ in range(3):
                await mirror.ask(Blob(bytes(12 * MIB)))
            assert own_bytes(pid) > before + 12 * MIB
            await eventually(lambda: own_bytes(pid) < before + MIB)
            assert len(await mirror.ask(Blob(bytes(12 * MIB)))) == 12 * MIB

    run(main())


def test_large_messages_under_way_at_a_kill_are_answered_by_the_next_life(run):
    async def main():
        async with Supervisor() as sup:
            mirror = await sup.spawn(Mirror, name="mirror", mailbox={"bytes": "64MiB"})
            pid = await mirror.ask(Pid())
            blobs = [bytes([number]) * (3 * MIB + number) for number in range(10)]
            asks = [asyncio.ensure_future(mirror.ask(Blob(blob))) for blob in blobs]
            await asks[0]
            os.kill(pid, signal.SIGKILL)
            assert await asyncio.gather(*asks) == blobs
            assert await mirror.ask(Pid()) != pid

    run(main())
