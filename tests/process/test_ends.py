"""Nothing survives its agent, and nothing survives the supervisor."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from actorsys.process.sweep import remains_of

HERE = Path(__file__).parent
KINDS = ["child", "session", "tree", "daemon", "nameless daemon", "forked daemon"]


@pytest.mark.parametrize("how", ["fork", "fresh"])
@pytest.mark.parametrize("end", ["SIGKILL", "SIGTERM"])
def test_what_an_agent_started_dies_with_it_and_what_another_started_does_not(run, home, how, end) -> None:
    async def main() -> None:
        async with home() as here:
            one = await here.launch("parent", json.dumps(KINDS).encode(), name="one", how=how)
            # A nameless daemon of a living agent cannot be told from one of the dead's: that is the one kind left out.
            kinds = [kind for kind in KINDS if kind != "nameless daemon"]
            other = await here.launch("parent", json.dumps(kinds).encode(), name="other", how=how)
            started, others = json.loads(await here.hear(one)), json.loads(await here.hear(other))
            assert all(map(here.is_alive, started + others))
            one.signal(getattr(signal, end)) if end == "SIGTERM" else one.kill()
            assert (await asyncio.wait_for(one.exited, 5)).signal == end
            assert [pid for pid in started if here.is_alive(pid)] == []
            assert [pid for pid in others if not here.is_alive(pid)] == []
            left = set(remains_of(here.launcher.run)) - {here.keeper, here.zygote(), other.pid, *others}
            assert [pid for pid in left if _session(pid) not in others] == []
            other.kill()
            await asyncio.wait_for(other.exited, 5)
            assert [pid for pid in others if here.is_alive(pid)] == []

    run(main())


def _session(pid: int) -> int:
    return os.getsid(pid)


def test_the_exit_is_told_when_the_output_has_ended(run, home) -> None:
    async def main() -> None:
        async with home() as here:
            agent = await here.launch("parent", b'["daemon"]')
            await here.hear(agent)
            agent.kill()
            await agent.exited
            assert agent.read_output() == b""  # the daemon had it open too

    run(main())


@pytest.mark.slow
def test_a_killed_keeper_takes_all_with_it_and_the_next_launch_has_another(run, home, caplog) -> None:
    async def main() -> None:
        async with home() as here:
            agents = [await here.launch("spin"), await here.launch("spin", how="fresh")]
            parent = await here.launch("parent", json.dumps([kind for kind in KINDS if kind != "nameless daemon"]).encode())
            started = json.loads(await here.hear(parent))
            old = here.keeper
            os.kill(old, signal.SIGKILL)
            for agent in (*agents, parent):
                assert (await asyncio.wait_for(agent.exited, 5)).signal == "SIGKILL"
            assert [pid for pid in started if here.is_alive(pid)] == []
            agent = await here.launch("echo", b"new")
            assert (agent.how, await here.hear(agent)) == ("fork", b"new")
            assert here.keeper != old

    run(main())
    assert "keeps the agents was killed" in caplog.text


@pytest.mark.slow
def test_a_launch_while_the_keeper_dies_is_made_by_the_next(run, home) -> None:
    async def main() -> None:
        async with home() as here:
            for _ in range(3):
                launches = [asyncio.create_task(here.launch("echo", b"x")) for _ in range(4)]
                await asyncio.sleep(0)
                os.kill(here.keeper, signal.SIGKILL)
                for agent in await asyncio.gather(*launches):
                    try:
                        assert await here.hear(agent) == b"x"
                    except (EOFError, ConnectionResetError):  # the old one had made it, and took it along
                        assert (await asyncio.wait_for(agent.exited, 5)).signal == "SIGKILL"
                assert await here.hear(await here.launch("echo", b"y")) == b"y"

    run(main())


HOST = """
import asyncio, os, sys
from actorsys.process.launcher import Launcher, Order

async def main():
    launcher = Launcher(sys.argv[1], path=[sys.argv[2]])
    await launcher.start()
    n = 0
    async def start(entry, payload=b"", how="auto"):
        nonlocal n
        n += 1
        return await launcher.launch(Order(name=f"a{n}", incarnation=1, entry="entries:" + entry, payload=payload, how=how))
    agents = [await start("spin") for _ in range(4)] + [await start("spin", how="fresh")]
    agents.append(await start("parent", b'["child", "session", "tree", "daemon", "nameless daemon", "forked daemon"]'))
    print(agents[-1].connection.recv_bytes().decode(), flush=True)
    async def storm():
        while True:
            agent = await start("spin")
            agent.kill()
            await agent.exited
            agent.close()
    await asyncio.gather(storm(), storm(), storm())

asyncio.run(main())
"""


@pytest.mark.parametrize("fork", [False, True], ids=["plain host", "host that forked"])
@pytest.mark.slow
def test_a_killed_supervisor_leaves_nothing_even_mid_spawn(run_id, fork) -> None:
    code = HOST.replace(
        "    async def storm",
        "    if os.fork() == 0:\n        import time; time.sleep(60); os._exit(0)\n    async def storm",
        fork,
    )
    host = subprocess.Popen(
        [sys.executable, "-c", code, run_id, str(HERE)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        started = json.loads(host.stdout.readline())
        assert len(remains_of(run_id)) >= 8
        until = time.monotonic() + 0.05  # the storm goes on meanwhile
        while time.monotonic() < until:
            remains_of(run_id)
        os.kill(host.pid, signal.SIGKILL)
        host.wait()
        until = time.monotonic() + 2
        while (left := remains_of(run_id) + [pid for pid in started if _is_alive(pid)]) and time.monotonic() < until:
            pass
        assert left == []
    finally:
        os.killpg(host.pid, signal.SIGKILL) if fork else None
        host.kill()
        host.wait()
        host.stdout.close()


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
