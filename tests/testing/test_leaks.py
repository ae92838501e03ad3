"""The leak check is itself checked: each kind of leak is found and named, and what is none is let pass."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from actorsys.testing.leaks import Snapshot, kill_leaked, leaks

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]


def test_nothing_opened_is_no_leak() -> None:
    assert leaks(Snapshot.take()) == []


def test_a_running_child_is_named_with_its_command_and_killed() -> None:
    before = Snapshot.take()
    with subprocess.Popen(SLEEP) as child:
        (line,) = leaks(before, grace=0)
        assert f"process {child.pid} is alive" in line
        assert "time.sleep(60)" in line
        kill_leaked(before)
        assert child.wait(timeout=5) == -9


def test_a_child_that_nobody_waited_for_is_named() -> None:
    before = Snapshot.take()
    pid = os.posix_spawn(sys.executable, [sys.executable, "-S", "-c", ""], os.environ)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie
    (line,) = leaks(before, grace=0)
    os.waitpid(pid, 0)
    assert "nobody waited for it" in line


@pytest.mark.skipif(sys.platform != "linux", reason="reads another process's environment")
def test_an_orphan_in_a_session_of_its_own_is_found_by_its_mark() -> None:
    before = Snapshot.take()
    script = f"import subprocess; print(subprocess.Popen({SLEEP!r}, start_new_session=True, stdout=-3).pid)"
    orphan = int(subprocess.check_output([sys.executable, "-c", script]))
    found = leaks(before, grace=0)
    kill_leaked(before)
    assert [line for line in found if f"process {orphan} is alive" in line]
    assert leaks(before) == []


def test_a_process_that_ends_within_the_grace_is_no_leak() -> None:
    before = Snapshot.take()
    script = "import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', ''], start_new_session=True)"
    subprocess.run([sys.executable, "-S", "-c", script], check=True)
    assert leaks(before) == []


def test_an_open_file_is_named(tmp_path: Path) -> None:
    before = Snapshot.take()
    with (tmp_path / "left.txt").open("w"):
        (line,) = leaks(before, grace=0)
    assert "is open" in line
    assert sys.platform != "linux" or "left.txt" in line


def test_a_second_descriptor_of_a_file_that_was_open_before_is_a_leak(tmp_path: Path) -> None:
    with (tmp_path / "twice.txt").open("w"):
        before = Snapshot.take()
        with (tmp_path / "twice.txt").open():
            assert len(leaks(before, grace=0)) == 1


def test_a_number_used_again_for_the_same_file_is_no_leak() -> None:
    first = os.open(os.devnull, os.O_RDONLY)
    before = Snapshot.take()
    second = os.dup(first)
    os.close(first)
    assert leaks(before, grace=0) == []
    os.close(second)


def test_a_listening_socket_is_named_with_its_address() -> None:
    before = Snapshot.take()
    with socket.create_server(("127.0.0.1", 0)) as server:
        (line,) = leaks(before, grace=0)
        assert str(server.getsockname()[1]) in line


def test_a_loop_that_was_not_closed_is_found() -> None:
    before = Snapshot.take()
    loop = asyncio.new_event_loop()
    assert len(leaks(before, grace=0)) >= 2
    loop.close()
    assert leaks(before) == []


def test_processes_of_others_are_none_of_our_business() -> None:
    everything = Snapshot(pids=frozenset({os.getpid()}), descriptors=Snapshot.take().descriptors)
    assert not [line for line in leaks(everything, grace=0) if f"process {os.getppid()} " in line]
    assert psutil.pid_exists(os.getppid())
