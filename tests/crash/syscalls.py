"""Builds the shim and runs the worker under it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FAULTS = ("kill", "torn", "short", "enospc", "full", "eio")


def build(folder: Path) -> Path | str:
    """The shim; or the reason why there is none."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return "no C compiler found"
    if sys.platform != "linux":
        return "LD_PRELOAD works on Linux only"
    library = folder / "shim.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(HERE / "shim.c"), "-ldl"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return library if done.returncode == 0 else f"the shim does not compile: {done.stderr.strip()}"


def crash(
    library: Path, folder: Path, backend: str, fault: str, *, commits: int, step: int = 1, size: int = 40
) -> dict[str, Any]:
    """Try every `step`-th point; see `worker`."""
    job = {"folder": str(folder / "state"), "backend": backend, "fault": fault, "commits": commits, "step": step, "size": size}
    done = subprocess.run(
        [sys.executable, str(HERE / "worker.py"), json.dumps(job)],
        env={**os.environ, "LD_PRELOAD": str(library)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))
