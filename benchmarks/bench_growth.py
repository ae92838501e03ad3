"""How does the cost of a node grow with its agents? From 10 to 1,000: start, memory, idle processor time, an ask, a kill, the stop.

Asks are compared with those of a process of its own with 10 agents, taken in turn.
"""

import asyncio
import logging
import os
import tempfile
from pathlib import Path
from time import perf_counter

import psutil
from agents import Echo, Pid
from bench_restart import kill
from bench_roundtrip import WARM_UP, ask_in_turn
from measure import FULL, Latency, Row, Series, Size, need_nats, print_document, pss, side

from actorsys import Supervisor
from actorsys.messages import class_path
from actorsys.testing.fleet import Usage, wait_answers
from actorsys.testing.nats import Server, run_server

QUESTION = "How does the cost of a node grow with its agents?"
FLEETS = (10, 100, 1000)
FLEETS_QUICK = (10, 100)
FEW = 10
ASKS = 1000  # a round
KILLS = 100
IDLE = 30.0  # seconds: each agent sends one heartbeat meanwhile
UP_MAX = 120.0  # seconds; a fleet that takes longer is an error, not a figure
# As in bench_restart.py: the machinery is measured, not the backoff.
RULE = '[defaults]\nrestart = { max_restarts = 1000000, window = "1h", backoff = "0s", jitter = 0 }\n'


async def rows(size: Size) -> list[Row]:
    need_nats()
    logging.getLogger("actorsys").setLevel(logging.ERROR)  # each kill is a warning, and these are meant
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        async with run_server(Path(folder) / "nats") as server:
            url = server.url.replace("://", f"://{server.info.token}@")
            async with side("growth_side.py", str(FEW), url) as few:
                for agents in FLEETS if size is FULL else FLEETS_QUICK:
                    file = Path(folder) / f"fleet{agents}" / "agents.toml"
                    file.parent.mkdir()
                    found += [await without_nats(file, agents), *await with_nats(file, agents, server, few, size)]
    return found


def write(file: Path, agents: int, nats: str) -> list[str]:
    """Their names."""
    names = [f"echo{number}" for number in range(agents)]
    tables = [f'[agents.{name}]\ntype = "{class_path(Echo)}"\n' for name in names]
    file.write_text(f"[nats]\n{nats}\n{RULE}{''.join(tables)}")
    return names


async def without_nats(file: Path, agents: int) -> Row:
    up = Series(f"up_{agents}", f"{agents} agents, no NATS: up, each has answered", "s")
    names = write(file, agents, 'mode = "off"')
    start = perf_counter()
    async with Supervisor.from_toml(file) as sup:
        await asyncio.gather(*(sup.agent(name).ask(Pid(), timeout=UP_MAX) for name in names))
        up.add(perf_counter() - start, samples=agents)
    return up.row()


async def with_nats(file: Path, agents: int, server: Server, few: asyncio.subprocess.Process, size: Size) -> list[Row]:
    def series(id: str, what: str, unit: str) -> Series:
        return Series(f"{id}_{agents}", f"{agents} agents: {what}", unit)

    up = series("up_nats", "up, each has answered over its NATS connection", "s")
    memory = series("pss_nats", "memory per agent (PSS)", "MiB")
    idle = series("idle", "all processes while nobody asks, of one core", "%")
    idle_ours = series("idle_supervisor", "the supervisor's share of that", "%")
    stop = series("stop", "until all are stopped, nothing left", "s")
    asked = Latency(f"ask_beside_{agents}", f"{agents} agents: ask of one, the others idle", "us", f"beside {FEW}")
    away = Latency(f"away_nats_{agents}", f"{agents} agents: SIGKILL to the next answer", "ms")
    names = write(file, agents, f'mode = "external"\nurl = "{server.url.replace("://", f"://{server.info.token}@")}"')

    start = perf_counter()
    async with Supervisor.from_toml(file) as sup:
        if missing := await wait_answers(sup, server, names, UP_MAX):
            raise AssertionError(f"{len(missing)} agents never answered, such as {min(missing)}")
        up.add(perf_counter() - start, samples=agents)
        refs = [sup.agent(name) for name in names]
        pids = {ref.name: await ref.ask(Pid()) for ref in refs}
        memory.add(sum(map(pss, pids.values())) / agents, samples=agents)

        keeper = psutil.Process(pids[refs[0].name]).parent()  # agents fall to it, and the zygote is its child
        assert keeper is not None
        theirs, ours = Usage([keeper.pid, *(child.pid for child in keeper.children(recursive=True))]), Usage([os.getpid()])
        await asyncio.sleep(IDLE * size.scale)
        supervisor, _ = ours.so_far()  # first: to look at a thousand processes is work of our own
        others, _ = theirs.so_far()
        idle.add((supervisor + others) * 100, samples=agents)
        idle_ours.add(supervisor * 100, samples=agents)

        await ask_in_turn(refs[0], WARM_UP)
        count = size.count(ASKS)
        for _ in size.each_round():
            beneath = await elsewhere(few, count)
            asked.add(await ask_in_turn(refs[0], count), floor=beneath)

        away.add([await kill(refs[number % agents], pids) for number in range(size.count(KILLS))])
        start = perf_counter()
    stop.add(perf_counter() - start, samples=agents)
    if left := [pid for pid in pids.values() if psutil.pid_exists(pid)]:
        raise AssertionError(f"{len(left)} agents outlived their supervisor")
    return [up.row(), memory.row(), idle.row(), idle_ours.row(), *asked.rows(), *away.rows(), stop.row()]


async def elsewhere(few: asyncio.subprocess.Process, count: int) -> float:
    """The median of so many asks in the process with few agents."""
    assert few.stdin is not None
    assert few.stdout is not None
    few.stdin.write(f"{count}\n".encode())
    return float(await few.stdout.readline())


if __name__ == "__main__":
    print_document("growth", QUESTION, rows)
