"""Descendants are found, with the kernel's list of children and without."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from actorsys.process.procfs import Procfs


@pytest.fixture
def shell() -> Iterator[subprocess.Popen[bytes]]:
    """A shell with two children."""
    process = subprocess.Popen(
        ["/bin/sh", "-c", "sleep 300 & sleep 300 & echo ready; wait"], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    yield process
    os.killpg(process.pid, 9)
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("scan", [False, True], ids=["children files", "scan"])
def test_an_unknown_child_is_found_with_its_descendants_and_a_known_one_is_not(shell, scan) -> None:
    procfs = Procfs(scan=scan)
    for _ in range(2):  # the second time strangers are remembered
        trees = procfs.trees(os.getpid(), ())
        assert trees[shell.pid][0] == shell.pid
        assert len(trees[shell.pid]) == 3
        assert all(procfs.stat(pid).session == shell.pid for pid in trees[shell.pid])
        assert shell.pid not in procfs.trees(os.getpid(), {shell.pid})


def test_what_does_not_exist_has_no_state_and_no_mark() -> None:
    procfs = Procfs()
    assert procfs.stat(2**22 + 1) is None
    assert procfs.mark(2**22 + 1) is None
    assert procfs.threads() >= 1


def test_another_system_has_nothing_to_say(tmp_path) -> None:
    procfs = Procfs(str(tmp_path / "no-proc"))
    assert (procfs.pids(), procfs.trees(os.getpid(), ()), procfs.threads()) == ([], {}, 1)
