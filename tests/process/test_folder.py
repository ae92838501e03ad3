"""Only the folder that was made is removed, by its maker or by the keeper that outlives it."""

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from actorsys.process.folder import Folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = Folder.make()
    (Path(made.path) / "inside").mkdir()
    (Path(made.path) / "inside" / "file").touch()
    return made


def test_it_is_private_and_goes_with_all_that_is_in_it(folder, tmp_path) -> None:
    assert os.stat(folder.path).st_mode & 0o777 == 0o700
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    (Path(folder.path) / "link").symlink_to(elsewhere)
    folder.remove()
    folder.remove()
    assert not Path(folder.path).exists()
    assert (elsewhere / "kept").exists()


@pytest.mark.parametrize("other", ["another folder", "a link to another folder", "a link to itself", "a file"])
def test_whatever_else_stands_at_its_path_stays(folder, tmp_path, other) -> None:
    path, moved = Path(folder.path), tmp_path / "moved"
    path.rename(moved)
    if other == "another folder":
        path.mkdir()
        (path / "theirs").touch()
    elif other == "a file":
        path.touch()
    else:
        target = moved if other == "a link to itself" else tmp_path / "target"
        target.mkdir(exist_ok=True)
        (target / "theirs").touch()
        path.symlink_to(target)
    folder.remove()
    assert (moved / "inside" / "file").exists()
    assert path.is_file() or (path / "theirs").exists()


def test_a_fork_of_its_maker_does_not_remove_it(tmp_path) -> None:
    code = (
        "import os, sys, tempfile; from actorsys.process.folder import Folder; tempfile.tempdir = sys.argv[1]; folder = Folder.make()\n"
        "if os.fork() == 0: folder.remove(); os._exit(0)\n"
        "os.wait(); print(os.path.isdir(folder.path)); folder.remove(); print(os.path.isdir(folder.path))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


@pytest.mark.slow
@pytest.mark.parametrize("end", ["close", "end of stream", "kill_now"])
def test_the_keeper_of_a_supervisor_that_lives_leaves_it(folder, run, home, end) -> None:
    async def main() -> None:
        async with home(folder=folder) as here:
            await here.launch("spin")
            keeper = here.launcher._nursery.keeper
            assert keeper is not None
            if end == "close":
                await keeper.close(10)
            elif end == "kill_now":
                await asyncio.to_thread(here.launcher.kill_now)
            else:
                keeper._wire.shutdown()
                await keeper.wait_ended(10)
            assert (Path(folder.path) / "inside" / "file").exists()

    run(main())
    folder.remove()
