"""Did a test leave something behind: a process, a socket, a file?

`from actorsys.testing.leaks import no_leaks, marked_run` in a conftest.py checks each test. Without pytest: `Snapshot.take()` before,
`leaks(before)` after.

Processes are found by descent and, because the interesting ones are orphans, by a mark in the environment that everything started
by this test run inherits. Descriptors are compared by what they refer to, so that a number used again is no leak.
"""

import contextlib
import gc
import os
import stat
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator

import psutil
import pytest
from msgspec import Struct

MARK = "ACTORSYS_TEST_RUN"  # environment variable, set by the fixture `marked_run`
GRACE = 2.0  # seconds a process may take to end after the test is over
_POLL = 0.01  # seconds


class Snapshot(Struct, frozen=True):
    """What existed at one moment."""

    pids: frozenset[int]
    descriptors: Counter[str]

    @classmethod
    def take(cls) -> "Snapshot":
        return cls(pids=frozenset(psutil.pids()), descriptors=Counter(_descriptors().values()))


def leaks(before: Snapshot, grace: float = GRACE) -> list[str]:
    """One line for each process and descriptor of ours that is there now and was not before; empty is good.

    Waits up to `grace` seconds for what is just ending.
    """
    give_up = time.monotonic() + grace
    while found := _leaked_processes(before) + _leaked_descriptors(before):
        if time.monotonic() >= give_up:
            return found
        gc.collect()  # an object in a cycle closes its descriptor when it is collected, and pytest's traceback may hold it till now
        time.sleep(_POLL)
    return []


def kill_leaked(before: Snapshot) -> None:
    """End the processes that `leaks` reports, so that the next test starts clean."""
    for process in _ours_since(before):
        with contextlib.suppress(psutil.Error):
            process.kill()


def _ours_since(before: Snapshot) -> list[psutil.Process]:
    return [process for pid in psutil.pids() if pid not in before.pids and (process := _ours(pid))]


def _ours(pid: int) -> psutil.Process | None:
    """The process if this one started it, directly or not; None as well when it has ended by now."""
    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        if pid == _resource_tracker()[0]:
            return None
        if process.ppid() == os.getpid():
            return process
        if process.status() == psutil.STATUS_ZOMBIE:  # of another parent: pid 1 of a container often reaps nothing
            return None
        if any(parent.pid == os.getpid() for parent in process.parents()):
            return process
        mark = os.environ.get(MARK)
        if mark and process.environ().get(MARK) == mark:
            return process
    return None


def _leaked_processes(before: Snapshot) -> list[str]:
    lines = []
    for process in _ours_since(before):
        with contextlib.suppress(psutil.Error):
            if process.status() == psutil.STATUS_ZOMBIE:
                lines.append(f"process {process.pid} ({process.name()}) has ended but nobody waited for it")
            else:
                command = " ".join(process.cmdline())[:200] or process.name()
                lines.append(f"process {process.pid} is alive, child of {process.ppid()}: {command}")
    return lines


def _leaked_descriptors(before: Snapshot) -> list[str]:
    now = _descriptors()
    tracker = _resource_tracker()[1]
    now.pop(tracker, None)
    left = Counter(now.values()) - before.descriptors
    lines = []
    for number, target in sorted(now.items(), reverse=True):  # the newest have, mostly, the highest numbers
        if left[target] > 0:
            left[target] -= 1
            lines.append(f"descriptor {number} is open: {target}{_socket_detail(number)}")
    return lines


def _descriptors() -> dict[int, str]:
    """Number -> what it refers to, in words that are the same as long as it is the same open file."""
    found = {}
    folder = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
    for name in os.listdir(folder):
        with contextlib.suppress(OSError):  # the descriptor of the listing itself is closed by now
            if sys.platform == "linux":
                found[int(name)] = os.readlink(f"{folder}/{name}")
            else:
                status = os.fstat(int(name))
                found[int(name)] = f"{stat.filemode(status.st_mode)} device {status.st_dev} inode {status.st_ino}"
    return found


def _socket_detail(number: int) -> str:
    with contextlib.suppress(psutil.Error):
        for connection in psutil.Process().net_connections(kind="all"):
            if connection.fd == number:
                ends = [str(end) for end in (connection.laddr, connection.raddr) if end]
                return f" ({' to '.join(ends) or 'a socket pair: an event loop that was not closed has one'})"
    return ""


def _resource_tracker() -> tuple[int | None, int]:
    """Pid and descriptor of multiprocessing's helper: one for the life of this process once anything needs it, so no leak."""
    module = sys.modules.get("multiprocessing.resource_tracker")
    tracker = getattr(module, "_resource_tracker", None)
    pid, number = getattr(tracker, "_pid", None), getattr(tracker, "_fd", None)
    return pid, -1 if number is None else number


@pytest.fixture(scope="session", autouse=True)
def marked_run() -> Iterator[str]:
    """Mark everything that the tests start, and open what opens once per process."""
    mark = f"{os.getpid()}-{uuid.uuid4().hex}"
    os.environ[MARK] = mark
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.new_event_loop().close()  # the first loop of a process opens libuv's two process-wide descriptors
    yield mark
    os.environ.pop(MARK, None)


@pytest.fixture(autouse=True)
def no_leaks(marked_run: str) -> Iterator[None]:
    """Fail a test that leaves processes or descriptors behind."""
    before = Snapshot.take()
    yield
    if found := leaks(before):
        kill_leaked(before)
        pytest.fail("this test left behind:\n  " + "\n  ".join(found), pytrace=False)
