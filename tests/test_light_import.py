"""`import actorsys` costs every agent, every command and every host its time and memory: it stays light."""

import subprocess
import sys

import pytest

HEAVY = {
    "anthropic", "asyncio", "click", "logging", "multiprocessing", "nacl", "nats", "nkeys", "openai", "psutil", "socket",
    "sqlite3", "ssl", "subprocess", "tenacity", "uvloop",
}  # fmt: skip


def imported_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter imports for `statement`, beyond those it imports to start."""

    def modules(code: str) -> set[str]:
        run = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True)
        return {line.rpartition("|")[2].strip() for line in run.stderr.splitlines() if line.startswith("import time:")}

    return modules(statement) - modules("pass")


def test_the_measurement_sees_imports() -> None:
    assert "sqlite3" in imported_by("import sqlite3")


@pytest.mark.parametrize("statement", ["import actorsys", "from actorsys import Event, Request, AskTimeout"])
def test_importing_the_package_loads_nothing_heavy(statement: str) -> None:
    loaded = imported_by(statement)
    assert "actorsys.messages" in loaded
    assert {name.partition(".")[0] for name in loaded} & HEAVY == set()
    assert {name for name in loaded if name.startswith("actorsys.")} <= {"actorsys.errors", "actorsys.messages"}
