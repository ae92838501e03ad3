"""The machine has no process or no descriptor left: who needed one waits, nobody else notices, and the message says what is short."""

import errno
import os
import resource

import pytest
from supervised import eventually, in_state, kill, row, states, why

from actorsys import StartFailed, Supervisor
from actorsys.testing.children import Obedient, Pid

RULE = {"max_restarts": 1000, "backoff": "30ms", "backoff_max": "60ms", "jitter": 0.0}


async def check(sup, squeeze, release, word):
    """Kill `a` while nothing can be started; look at it and at its sibling; then let it come back."""
    a = await sup.spawn(Obedient, name="a", restart=RULE)
    b = await sup.spawn(Obedient, name="b")
    before = {row["name"]: row["pid"] for row in sup.children()}
    squeeze()
    try:
        await kill(sup, "a")
        await eventually(lambda: len(sup.driver.members["a/0"].exits) > 3)
        assert await b.ask(Pid()) == before["b"]
        last = (await why(sup, "a"))[1]
        assert (last["reason"], last["pid"]) == ("start_failed", None)
        assert word in last["detail"]
        assert "restart in 30ms" in last["decision"] or "restart in 60ms" in last["decision"]
        await in_state(sup, "a", "backoff")
        with pytest.raises(StartFailed, match=word):
            await sup.spawn(Obedient, name="c")
    finally:
        release()
    assert await a.ask(Pid()) != before["a"]
    assert states(sup) == {"a": "running", "b": "running"}
    assert row(sup, "b")["restarts"] == 0
    assert await (await sup.spawn(Obedient, name="c")).ask(Pid())


def test_no_descriptor_left(run):
    """A18: EMFILE, by the limit of this very process."""

    async def main():
        async with Supervisor(nats="off") as sup:
            before = resource.getrlimit(resource.RLIMIT_NOFILE)

            def squeeze():
                # The lowest free number is the limit: nothing more can be opened.
                fd = os.dup(0)
                os.close(fd)
                resource.setrlimit(resource.RLIMIT_NOFILE, (fd, before[1]))

            await check(sup, squeeze, lambda: resource.setrlimit(resource.RLIMIT_NOFILE, before), "Too many open files")

    run(main())


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOMEM])
def test_no_process_left(run, monkeypatch, code):
    """A18: EAGAIN, and what a fork says without memory; given by the launcher, as root knows no limit of processes."""

    async def main():
        async with Supervisor(nats="off") as sup:

            async def refuse(order):
                raise StartFailed(f"{order.name} could not be started: {os.strerror(code)}")

            await check(sup, lambda: monkeypatch.setattr(sup.launcher, "launch", refuse), monkeypatch.undo, os.strerror(code))

    run(main())
