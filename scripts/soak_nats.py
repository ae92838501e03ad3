"""Do fleets live well on NATS? `make soak-nats FLEET=300`

Three questions, with a nats-server of its own: how long until FLEET= agents, each with a connection, have all answered a NATS request;
what do they cost while nobody asks them anything; and, when the server is killed and started again on its port, how long until each
answers again, how many connections a second does the server see, and does no agent restart meanwhile?
"""

import argparse
import asyncio
import contextlib
import json
import logging
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterable
from pathlib import Path

import nats
import psutil

from actorsys import Supervisor, run
from actorsys.messages import class_path
from actorsys.testing.children import Obedient
from actorsys.testing.nats import Server, run_server
from actorsys.testing.waiting import eventually

BACK_MAX = 10.0  # seconds from the start of the server until all agents answer, for 300 agents
RATE_MAX = (
    150  # connections that the server takes in any second while a fleet of 300 comes back; 100 are meant, and chance adds to it
)


class Rate:
    """The most connections that a server took within a second; sampled from its monitoring port."""

    def __init__(self, server: Server) -> None:
        self._url = f"{server.info.monitoring_urls[0]}/varz"
        self._samples: list[tuple[float, int]] = []
        self._task = asyncio.get_running_loop().create_task(self._sample())

    async def _sample(self) -> None:
        while True:
            now = time.monotonic()
            said = await asyncio.to_thread(lambda: urllib.request.urlopen(self._url, timeout=5).read())
            self._samples.append((now, json.loads(said)["total_connections"]))
            await asyncio.sleep(0.05)

    async def end(self) -> int:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        spans = ((later - sooner) for at, sooner in self._samples for then, later in self._samples if 0 <= then - at <= 1.0)
        return max(spans, default=0)


async def wait_answers(sup: Supervisor, server: Server, names: Iterable[str], timeout: float) -> set[str]:
    """Ask each agent over NATS until it answers; those that did not within `timeout` seconds."""
    missing = set(names)
    # To ask a thousand agents that are not there yet would take the processor from those that start.
    members = sup.driver.members.values()
    with contextlib.suppress(AssertionError):  # the asking shows who is missing
        await eventually(lambda: all(member.nats == "connected" for member in members), timeout)
    room = asyncio.Semaphore(32)
    client = await nats.connect(server.url, token=server.info.token, max_reconnect_attempts=-1, reconnect_time_wait=0.05)

    async def ask(name: str) -> None:
        asked = {
            "message_type": "request", "from_agent": "soak", "to_agent": name, "content": {"type": "Pid"}, "metadata": {},
            "timestamp": "2026-01-02T03:04:05Z", "message_id": str(uuid.uuid4()), "in_reply_to": None, "priority": 3,
        }  # fmt: skip
        while name in missing:
            try:
                async with room:
                    answer = await client.request(f"agents.request.{name}", json.dumps(asked).encode(), timeout=5)
                if json.loads(answer.data)["message_type"] == "response":
                    missing.discard(name)
            except nats.errors.Error:
                await asyncio.sleep(0.05)

    try:
        async with asyncio.timeout(timeout):
            await asyncio.gather(*map(ask, sorted(missing)))
    except TimeoutError:
        pass
    finally:
        await client.close()
    return missing


class Usage:
    """What processes have used of the processor since this was made, and how often they were woken."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._began = time.monotonic()
        self._before = {pid: self._read(pid) for pid in pids}

    @staticmethod
    def _read(pid: int) -> tuple[int, int]:
        ran = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
        return ran, psutil.Process(pid).num_ctx_switches().voluntary

    def text(self, agents: int) -> str:
        took = time.monotonic() - self._began
        now = {pid: self._read(pid) for pid in self._before}
        share = sum(now[pid][0] - before[0] for pid, before in self._before.items()) / 1e9 / took
        wakes = sum(now[pid][1] - before[1] for pid, before in self._before.items()) / took
        return f"{share:.2%} of a core ({share * 1000 / agents:.2%} for 1,000 agents), {wakes:.0f} wake-ups a second"


async def soak(agents: int, idle: float, down: float) -> list[str]:
    """What is wrong; empty is good."""
    wrong: list[str] = []
    names = [f"agent{number}" for number in range(agents)]
    with tempfile.TemporaryDirectory() as folder:
        async with run_server(Path(folder) / "nats") as server:
            url = server.url.replace("nats://", f"nats://{server.info.token}@")
            file = Path(folder) / "agents.toml"
            tables = [f'[agents.{name}]\ntype = "{class_path(Obedient)}"\n' for name in names]
            file.write_text(f'[nats]\nmode = "external"\nurl = "{url}"\n' + "".join(tables))
            began = time.monotonic()
            async with Supervisor.from_toml(file) as sup:
                missing = await wait_answers(sup, server, names, 60.0)
                up = time.monotonic() - began
                print(f"{agents} agents: each has answered over NATS after {up:.1f} s", flush=True)
                if missing:
                    wrong.append(f"{len(missing)} agents never answered, such as {min(missing)}")

                used = Usage(row["pid"] for row in sup.children())
                ours = Usage([psutil.Process().pid])
                await asyncio.sleep(idle)
                print(f"idle for {idle:g} s: the agents use {used.text(agents)}; the supervisor {ours.text(agents)}", flush=True)

                server.kill()
                await asyncio.sleep(down)
                await server.start()
                began = time.monotonic()
                rate = Rate(server)
                missing = await wait_answers(sup, server, names, 3 * BACK_MAX)
                back = time.monotonic() - began
                most = await rate.end()
                print(
                    f"server back after {down:g} s: all answer {back:.1f} s later; at most {most} connections in a second",
                    flush=True,
                )
                restarts = sum(row["restarts"] for row in sup.children())
                if missing:
                    wrong.append(f"{len(missing)} agents did not answer again, such as {min(missing)}")
                if agents <= 300 and back > BACK_MAX:
                    wrong.append(f"it took {back:.1f} s until all answered again; {BACK_MAX:g} s are allowed")
                if agents <= 300 and most > RATE_MAX:
                    wrong.append(f"{most} connections in a second; {RATE_MAX} are allowed")
                if restarts:
                    wrong.append(f"{restarts} restarts because the server was away")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--agents", type=int, default=300)
    parser.add_argument("--idle", type=float, default=40.0, help="seconds in which nobody asks")
    parser.add_argument("--down", type=float, default=8.0, help="seconds without a server")
    options = parser.parse_args()
    logging.getLogger("actorsys").setLevel(logging.CRITICAL)  # each lost connection is a warning, and these are meant
    wrong = run(soak(options.agents, options.idle, options.down))
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
