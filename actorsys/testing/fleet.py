"""How does a whole fleet of agents do: has each answered over NATS, and what do they cost while nobody asks them anything?"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

import msgspec
import nats
import psutil

from ..supervision.supervisor import Supervisor
from .nats import Server
from .waiting import eventually

AT_ONCE = 32  # requests under way; more of them would only wait for each other
ASKED_AGAIN = 0.05  # seconds


async def wait_answers(sup: Supervisor, server: Server, names: Iterable[str], timeout: float) -> set[str]:
    """Ask each agent, which must know a message `Pid`, over NATS until it answers; those that did not within `timeout` seconds."""
    missing = set(names)
    # To ask a thousand agents that are not there yet would take the processor from those that start.
    members = sup.driver.members.values()
    with contextlib.suppress(AssertionError):  # the asking shows who is missing
        await eventually(lambda: all(member.nats == "connected" for member in members), timeout)
    room = asyncio.Semaphore(AT_ONCE)
    client = await nats.connect(server.url, token=server.info.token, max_reconnect_attempts=-1, reconnect_time_wait=ASKED_AGAIN)

    async def ask(name: str) -> None:
        asked = {
            "message_type": "request", "from_agent": "fleet", "to_agent": name, "content": {"type": "Pid"}, "metadata": {},
            "timestamp": "2026-01-02T03:04:05Z", "message_id": str(uuid.uuid4()), "in_reply_to": None, "priority": 3,
        }  # fmt: skip
        while name in missing:
            try:
                async with room:
                    answer = await client.request(
                        f"agents.request.{name.replace('-', '_')}", msgspec.json.encode(asked), timeout=5
                    )
                if msgspec.json.decode(answer.data)["message_type"] == "response":
                    missing.discard(name)
            except nats.errors.Error:
                await asyncio.sleep(ASKED_AGAIN)

    try:
        async with asyncio.timeout(timeout):
            await asyncio.gather(*map(ask, sorted(missing)))
    except TimeoutError:
        pass
    finally:
        await client.close()
    return missing


class Usage:
    """What processes have used of the processor since this was made, and how often they were woken. Linux only."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._began = time.monotonic()
        self._before = {pid: self._read(pid) for pid in pids}

    @staticmethod
    def _read(pid: int) -> tuple[int, int]:
        ran = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
        return ran, psutil.Process(pid).num_ctx_switches().voluntary

    def so_far(self) -> tuple[float, float]:
        """The share of one core, and wake-ups a second, of all of them together."""
        took = time.monotonic() - self._began
        now = {pid: self._read(pid) for pid in self._before}
        share = sum(now[pid][0] - before[0] for pid, before in self._before.items()) / 1e9 / took
        return share, sum(now[pid][1] - before[1] for pid, before in self._before.items()) / took

    def text(self, agents: int) -> str:
        """The same in words, and what it would be for 1,000 agents instead of `agents`."""
        share, wakes = self.so_far()
        return f"{share:.2%} of a core ({share * 1000 / agents:.2%} for 1,000 agents), {wakes:.0f} wake-ups a second"
