"""An agent that hangs is found, dumped, killed and restarted; one that only waits is left alone."""

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

import pytest
from supervised import QUICK, control, kill_and_wait, row, up_again, why
from supervision_agents import BlocksLater

from actorsys import AskTimeout, Supervisor
from actorsys.testing.children import Hog, Pid, Work, WorkInThread
from actorsys.testing.waiting import eventually, until

HANG = "500ms"
OPTIONS = {"hang_timeout": HANG, "restart": QUICK, "mailbox": {"max_deliveries": 1}}


@contextlib.asynccontextmanager
async def hog_of(**options):
    async with Supervisor(nats="off") as sup:
        yield sup, await sup.spawn(Hog, name="hog", **{**OPTIONS, **options})


@pytest.mark.parametrize(
    ("what", "frame"),
    [("loop", "in work"), ("c_call", "in work"), ("block", "in work")],
)
def test_a_blocked_event_loop_is_found_and_the_stacks_say_where(run, what, frame):
    """D19: `while True: pass`, one C call that never gives the interpreter's lock away, a blocking sleep."""

    async def main():
        async with hog_of() as (sup, hog):
            pid = await hog.ask(Pid())
            await hog.tell(Work(what))
            await up_again(sup, "hog", pid)
            (exit,) = await why(sup, "hog")
            assert (exit["reason"], exit["signal"]) == ("unresponsive", "SIGKILL")
            assert frame in exit["traceback"]
            assert "children.py" in exit["traceback"]
            assert exit["message"].startswith("Work #")
            assert exit["decision"] == "unresponsive; restart at once: first death in 30s"
            assert (await hog.info())["last_exit"]["traceback"] == exit["traceback"]
            assert row(sup, "hog")["dead_letters"] == 1

    run(main())


def test_the_stacks_are_shown_though_a_module_has_taken_the_signal(run, folder, monkeypatch):
    text = "import signal\nsignal.signal(signal.SIGUSR2, print)\nfrom actorsys.testing.children import Hog\nclass Greedy(Hog): pass\n"
    (folder / "greedy.py").write_text(text)
    monkeypatch.syspath_prepend(folder)

    async def main():
        async with hog_of() as (sup, _):  # so the signal was ours before
            greedy = await sup.spawn("greedy:Greedy", name="greedy", **OPTIONS)
            pid = await greedy.ask(Pid())
            await greedy.tell(Work("block"))
            await up_again(sup, "greedy", pid)
            (exit,) = await why(sup, "greedy")
            assert (exit["reason"], exit["signal"]) == ("unresponsive", "SIGKILL")
            assert "in work" in exit["traceback"]

    run(main())


def test_a_stopped_process_is_found_as_soon_as_it_owes_an_answer(run):
    """D19: SIGSTOP; it has no stacks to show, and what it owed is done by its next life."""

    async def main():
        async with hog_of(mailbox={"max_deliveries": 3}) as (sup, hog):
            pid = await hog.ask(Pid())
            os.kill(pid, signal.SIGSTOP)
            assert await hog.ask(Pid()) != pid
            (exit,) = await why(sup, "hog")
            assert (exit["reason"], exit["signal"], exit["pid"]) == ("unresponsive", "SIGKILL", pid)

    run(main())


def test_who_waits_or_works_in_a_thread_is_left_alone(run):
    """D19"""

    async def main():
        async with hog_of(concurrency=3) as (sup, hog):
            pid = await hog.ask(Pid())
            answers = await asyncio.gather(hog.ask(Work("wait", 1.5)), hog.ask(WorkInThread(1.5)))
            assert answers == ["done", "done"]
            assert row(sup, "hog")["pid"] == pid
            assert row(sup, "hog")["restarts"] == 0

    run(main())


def test_who_owes_nothing_is_not_even_asked(run):
    """D19: a stopped process without mail harms nobody."""

    async def main():
        async with hog_of(hang_timeout="100ms") as (sup, hog):
            pid = await hog.ask(Pid())
            os.kill(pid, signal.SIGSTOP)
            other = await sup.spawn(Hog, name="other", **OPTIONS)
            await other.ask(Work("wait", 1.0))
            assert row(sup, "hog")["pid"] == pid
            os.kill(pid, signal.SIGCONT)
            assert await hog.ask(Pid()) == pid

    run(main())


def test_a_supervisor_that_was_held_up_condemns_nobody(run):
    """D19: silence that it could not have heard proves nothing."""

    async def main():
        async with hog_of(concurrency=2) as (sup, hog):
            pid = await hog.ask(Pid())
            work = asyncio.ensure_future(hog.ask(Work("wait", 3.0)))
            for _ in range(3):
                await asyncio.sleep(0.2)
                time.sleep(0.7)  # noqa: ASYNC251 - longer than the timeout of the agent
            assert await work == "done"
            assert row(sup, "hog")["pid"] == pid
            assert row(sup, "hog")["restarts"] == 0

    run(main())


def test_a_hang_while_it_is_being_stopped_is_a_stop_that_took_too_long(run):
    async def main():
        async with hog_of(hang_timeout="1h", stop_timeout="300ms") as (sup, hog):
            await hog.tell(Work("loop"))
            await hog.stop()
            last = row(sup, "hog")["last_exit"]
            assert (last["reason"], last["detail"]) == ("killed", "it did not stop in time")
            assert row(sup, "hog")["state"] == "stopped"
            await control(sup, "start", "hog")
            await kill_and_wait(sup, "hog")

    run(main())


# Memory


def memory_group():
    """The list of processes of a new control group with a limit of memory; None where no such group can be made."""
    top = Path("/sys/fs/cgroup")
    mount, limit = (top, "memory.max") if (top / "cgroup.controllers").exists() else (top / "memory", "memory.limit_in_bytes")
    group = mount / f"actorsys-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        return None
    try:
        if not (group / limit).exists():
            raise OSError("the controller of memory is not on here")
        (group / limit).write_text(str(300 * 2**20))
    except OSError:
        group.rmdir()
        return None
    return group / "cgroup.procs"


def test_out_of_memory_is_told_from_other_kills(node):
    """D20: by the counter of the control group."""
    procs = memory_group()
    if procs is None:
        pytest.skip("no control group with a limit of memory can be made here")
    try:
        node.write(
            '[nats]\nmode = "off"\n[agents.hog]\ntype = "actorsys.testing.children:Hog"\nmailbox = { max_deliveries = 1 }\n'
            '[agents.other]\ntype = "actorsys.testing.children:Hog"\n'
        )
        node.supervise(into=procs)
        before = {row["name"]: row["pid"] for row in node.wait_all()}
        node.call("tell", "hog", "Work", "what=memory", "mib=600")
        last = node.wait_state("hog", state="running", restarts=1)["last_exit"]
        assert (last["reason"], last["signal"]) == ("out_of_memory", "SIGKILL")
        assert "its memory peaked at" in last["detail"]
        assert node.ps("other")["pid"] == before["other"]
        os.kill(node.ps("hog")["pid"], signal.SIGKILL)
        last = node.wait_state("hog", state="running", restarts=2)["last_exit"]
        assert last["reason"] == "killed"
        node.end()
    finally:
        node.end()
        until(lambda: not procs.read_text().split())
        procs.parent.rmdir()


def test_a_kill_that_is_not_ours_says_how_much_memory_there_was(run):
    """D20"""

    async def main():
        async with hog_of() as (sup, hog):
            await hog.ask(Work("memory", mib=40))
            await kill_and_wait(sup, "hog")
            (exit,) = await why(sup, "hog")
            assert exit["reason"] == "killed"
            words = exit["detail"].split()
            assert exit["detail"].startswith("not by us; its memory peaked at ")
            assert 60 < float(words[-1].removesuffix("MiB")) < 200

    run(main())


def test_who_owes_only_a_control_reply_is_found_too(run):
    """G10: a background task that blocks the loop, no message in hand, and `state` asked for."""

    async def main():
        async with Supervisor(nats="off") as sup:
            idle = await sup.spawn(BlocksLater, name="idle", hang_timeout="500ms")
            pid = (await idle.info())["pid"]
            with contextlib.suppress(AskTimeout):
                while sup.children()[0]["pid"] == pid:
                    await idle.state()  # answered until the loop stands still
            await eventually(lambda: sup.children()[0]["pid"] not in (pid, None))
            assert (await idle.info())["last_exit"]["reason"] == "unresponsive"

    run(main())
