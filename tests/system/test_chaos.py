"""Short runs of `scripts/chaos.py`, and that it finds what it is there to find."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "chaos.py"
PROMISES = ["up", "processes", "zombies", "descriptors", "memory", "reasons", "messages"]


def start(*options):
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), "--seed", "1", *options],
        cwd=SCRIPT.parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process):
    with process:
        try:
            output, _ = process.communicate(timeout=100)
        finally:
            process.kill()
    return process.returncode, output


def test_all_promises_hold_while_agents_die_all_the_time():
    code, output = ended(start("--seconds", "5", "--agents", "20"))
    assert code == 0, output
    assert " deaths (" in output


def test_a_bug_against_any_promise_is_found():
    runs = {}
    for few in (PROMISES[:4], PROMISES[4:]):  # side by side: most of a run is waiting for hangs to be found
        started = {promise: start("--seconds", "1.5", "--agents", "6", "--plant", promise) for promise in few}
        runs |= {promise: ended(process) for promise, process in started.items()}
    for promise, (code, output) in runs.items():
        assert code == 1, (promise, output)
        assert any(line.startswith(f"{promise}: ") for line in output.splitlines()), (promise, output)
