"""Do fleets live well on NATS? `make soak-nats FLEET=300`

Three questions, with a nats-server of its own: how long until FLEET= agents, each with a connection, have all answered a NATS request;
what do they cost while nobody asks them anything; and, when the server is killed and started again on its port, how long until each
answers again, how many connections a second does the server see, and does no agent restart meanwhile?
"""

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil

from actorsys import Supervisor, run
from actorsys.messages import class_path
from actorsys.testing.children import Obedient
from actorsys.testing.fleet import Usage, wait_answers
from actorsys.testing.nats import Server, run_server

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
                supervisor = ours.text(agents)  # first: to look at all the others is work of our own
                print(f"idle for {idle:g} s: the agents use {used.text(agents)}; the supervisor {supervisor}", flush=True)

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
