"""Nothing survives its supervisor, and nothing of the host is touched."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from supervised import eventually, in_state, is_alive, kill_and_wait, row, states

from actorsys import Supervisor
from actorsys.testing.children import Forker, Obedient, Offspring, Pid
from actorsys.testing.waiting import until

ROOT = Path(__file__).parents[2]


def zygote(sup):
    keeper = sup.launcher._nursery.keeper.pid
    agents = {row["pid"] for row in sup.children()}
    children = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
    (pid,) = {int(pid) for pid in children} - agents
    return pid


def test_the_zygote_is_killed_and_agents_go_on_and_spawning_works(run):
    """Item 5: no agent depends on who forked it."""

    async def main():
        async with Supervisor(nats="off") as sup:
            refs = [await sup.spawn(Obedient, name=f"a{number}") for number in range(3)]
            before = [await ref.ask(Pid()) for ref in refs]
            os.kill(zygote(sup), signal.SIGKILL)
            assert [await ref.ask(Pid()) for ref in refs] == before
            assert await (await sup.spawn(Obedient, name="new")).ask(Pid())
            await kill_and_wait(sup, "a0")
            assert [row(sup, f"a{number}")["restarts"] for number in range(3)] == [1, 0, 0]

    run(main())


def test_the_keeper_is_killed_and_the_agents_come_back(run):
    async def main():
        async with Supervisor(nats="off") as sup:
            forker = await sup.spawn(Forker, name="forker", args={"kinds": ["plain", "session", "daemon"]})
            other = await sup.spawn(Obedient, name="other")
            before = {row["name"]: row["pid"] for row in sup.children()}
            offspring = await forker.ask(Offspring())
            os.kill(sup.launcher._nursery.keeper.pid, signal.SIGKILL)
            await eventually(lambda: all(row["restarts"] and row["state"] == "running" for row in sup.children()))
            assert not any(map(is_alive, [*before.values(), *offspring]))
            assert len({await forker.ask(Pid()), await other.ask(Pid()), *before.values()}) == 4

    run(main())


@pytest.mark.parametrize("round", range(2))
def test_a_supervisor_that_is_killed_at_any_moment_leaves_nothing(round):
    """B10: with five agents and their grandchildren, also in the middle of a start and of a stop."""
    script = ROOT / "scripts" / "soak_orphans.py"
    done = subprocess.run(
        [sys.executable, str(script), "--rounds", "10", "--seed", str(round)],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 rounds, 0 survivors" in done.stdout


def test_a_new_supervisor_removes_what_a_killed_one_left(node):
    """Item 5: on the same state directory, with agents that would rather stay."""
    node.write(
        '[nats]\nmode = "off"\n[agents.deaf]\ntype = "actorsys.testing.children:Deaf"\nargs = { how = "child" }\n'
        '[agents.forker]\ntype = "actorsys.testing.children:Forker"\nargs = { kinds = ["session", "daemon"] }\n'
    )
    node.supervise()
    pids = [row["pid"] for row in node.wait_all()]
    offspring = json.loads(node.call("ask", "forker", "Offspring"))
    assert all(map(is_alive, [*pids, *offspring]))
    node.process.kill()
    node.process.wait()
    node.supervise()
    assert not any(map(is_alive, [*pids, *offspring]))
    node.wait_all()


EMBEDDED = """
import asyncio, os, signal, sys
from actorsys import Supervisor
from actorsys.testing.children import Obedient

async def main():
    named = sys.argv[2] if sys.argv[1] == "with a state_dir" else None
    async with Supervisor(nats="off", state_dir=named) as sup:
        await sup.spawn(Obedient, name="a", memory="file")
        if sys.argv[1] == "with another keeper":
            os.kill(sup.launcher._nursery.keeper.pid, signal.SIGKILL)
            while sup.children()[0]["restarts"] == 0 or sup.children()[0]["state"] != "running":
                await asyncio.sleep(0.005)
        if sys.argv[1] == "forked" and os.fork() == 0:
            signal.pause()
        print(sup.state_dir, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("host", ["plain", "forked", "with another keeper", "with a state_dir"])
def test_a_killed_supervisor_leaves_no_folder_but_the_one_it_was_told(host, tmp_path):
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-c", EMBEDDED, host, str(tmp_path / "named")],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        folder = Path(process.stdout.readline().strip())
        assert folder.is_dir()
        assert folder.parent == tmp_path
        keeper = next(child.pid for child in psutil.Process(process.pid).children() if os.getsid(child.pid) == child.pid)
        process.kill()
        process.wait()
        until(lambda: not is_alive(keeper))
        assert folder.exists() == (host == "with a state_dir")
    finally:
        os.killpg(process.pid, signal.SIGKILL) if host == "forked" else None
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_supervisor_that_never_started_removes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = tmp_path / ".actorsys" / "agents"
    kept.mkdir(parents=True)
    Supervisor(nats="off").kill_now()
    assert kept.exists()


def test_the_host_keeps_its_children_its_handler_and_its_orphans(run):
    """Item 5: embedded, only processes of ours are waited for, reaped or signalled."""
    heard = []

    async def main():
        child = subprocess.Popen(["sh", "-c", "exit 7"])  # noqa: ASYNC220  # the host's own, which nobody has waited for
        sleeper = subprocess.Popen(["sleep", "600"])  # noqa: ASYNC220
        async with Supervisor(nats="off") as sup:
            await sup.spawn(Obedient, name="a")
            await kill_and_wait(sup, "a")
            subprocess.run(["true"], check=True)  # noqa: ASYNC221
            process = await asyncio.create_subprocess_exec("sh", "-c", "exit 5")
            assert await process.wait() == 5
        assert sleeper.poll() is None
        sleeper.kill()
        assert sleeper.wait() == -signal.SIGKILL
        assert child.wait() == 7

    before = signal.signal(signal.SIGCHLD, lambda *_: heard.append(1))
    try:
        run(main())
        assert signal.getsignal(signal.SIGCHLD) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_it_can_be_embedded_in_a_thread():
    """Item 5: no signal handler is needed."""
    found = []

    def work():
        async def main():
            async with Supervisor(nats="off") as sup:
                await sup.spawn(Obedient, name="a")
                await kill_and_wait(sup, "a")
                found.append(await sup.agent("a").ask(Pid()))

        asyncio.run(main())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(30)
    assert found


def test_many_restarts_of_one_agent_leave_no_descriptor(run):
    """Issue: 300 here; `make soak-restarts` does 1,000."""
    script = ROOT / "scripts" / "soak_restarts.py"
    done = subprocess.run(
        [sys.executable, str(script), "--restarts", "300"], check=False, capture_output=True, text=True, timeout=100, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_stop_while_agents_are_being_born_leaves_nothing(run):
    chance = random.Random(5)

    async def main():
        for _ in range(8):
            sup = Supervisor(nats="off")
            await sup.start()
            spawns = [asyncio.ensure_future(sup.spawn(Obedient, name=f"a{number}")) for number in range(6)]
            await asyncio.sleep(chance.uniform(0, 0.04))  # the moment is what is drawn
            await sup.stop()
            results = await asyncio.gather(*spawns, return_exceptions=True)
            assert all(isinstance(result, Exception) or result.name for result in results)

    run(main())


def test_an_agent_that_is_starting_can_be_killed_and_looked_at(run):
    async def main():
        async with Supervisor(nats="off") as sup:
            spawning = asyncio.ensure_future(
                sup.spawn("actorsys.testing.children:Slow", name="a", args={"start": 30}, start_timeout="60s")
            )
            await eventually(lambda: "a" in states(sup))
            await in_state(sup, "a", "starting")
            await sup.delete("a")
            with pytest.raises(Exception, match="did not start"):
                await spawning
            assert sup.children() == []

    run(main())
