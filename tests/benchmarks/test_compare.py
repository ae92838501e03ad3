"""The comparison with other systems runs, pairs what it measured, and says who was left out. Who is faster is not tested."""

import ast
import importlib
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
COMPARE = BENCHMARKS / "compare"
VERBS = {"start", "ask", "asks", "tells", "between", "echo", "spawn", "kill", "stop"}


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import modules of the folder as its scripts do."""
    monkeypatch.setattr(sys, "path", [str(COMPARE), *sys.path])
    before = set(sys.modules)

    def imported(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield imported
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


@pytest.fixture
def compare(load: Any) -> Any:
    return load("compare")


@pytest.fixture
def document(compare: Any) -> Any:
    return compare.Document(quick=True, seconds=1.0, machine={}, versions={}, cells=[], notes=[])


@pytest.mark.slow
def test_actorsys_and_a_pipe_run_every_scenario_in_pairs(compare: Any, document: Any) -> None:
    size = compare.Size(pairs=2, seconds=0.02, kills=2, spawns=2, limit=60.0)
    compare.compare("pipe", size, time.monotonic() + 60.0, document)
    assert document.notes == []
    assert [cell.row for cell in document.cells if cell.row not in ("kill", "spawn", "memory")] == [
        row for row in compare.ROWS if row not in ("kill", "spawn", "memory")
    ]
    assert {cell.row for cell in document.cells} == compare.ROWS.keys()
    for cell in document.cells:
        assert len(cell.ours) == len(cell.theirs) == 2, cell
        assert all(figure > 0 for figure in (*cell.ours, *cell.theirs)), cell
    assert document.versions.keys() == {"actorsys", "multiprocessing Pipe"}


@pytest.mark.slow
def test_a_peer_that_does_not_end_in_time_is_given_up_and_leaves_nothing(load: Any) -> None:
    driver = load("driver")
    peer = driver.Driver("pipe")
    try:
        assert peer.call("start", timeout=10.0).startswith("Python")
        with pytest.raises(driver.Failed, match="ask did not end in time"):
            peer.call("ask", 60.0, timeout=0.1)
        with pytest.raises(driver.Failed, match="ask did not end in time"):
            peer.call("tells", 1, 0.01, timeout=10.0)
    finally:
        peer.close()
    assert not load("psutil").pid_exists(peer._process.pid)


@pytest.mark.slow
def test_what_a_peer_raises_fails_that_scenario_only(load: Any) -> None:
    driver = load("driver")
    peer = driver.Driver("pipe")
    try:
        peer.call("start", timeout=10.0)
        with pytest.raises(driver.Failed, match="TypeError"):
            peer.call("ask", "long", timeout=10.0)
        assert peer.call("ask", 0.01, timeout=10.0)
    finally:
        peer.close()


def test_the_ratio_is_the_median_of_those_of_neighbouring_runs(compare: Any) -> None:
    # A slow phase in the middle hits both of a pair: medians of each side alone would say 2.0.
    assert compare.Cell("ask_p50", "pipe", ours=[10, 100, 30], theirs=[30, 300, 60]).ratio == 3.0
    assert compare.Cell("tells", "pipe", ours=[10, 100, 30], theirs=[30, 300, 60]).ratio == pytest.approx(1 / 3)


def test_the_table_has_a_row_for_each_scenario_and_a_column_for_each_peer(compare: Any, document: Any) -> None:
    document.cells = [
        compare.Cell("ask_p50", "pipe", ours=[50.0, 70.0, 60.0], theirs=[25.0, 35.0, 30.0]),
        compare.Cell("ask_p50", "ray", ours=[50.0], theirs=[500.0]),
        compare.Cell("tells", "ray", ours=[1000.0], theirs=[100_000.0]),
        compare.Cell("memory", "ray", ours=[1.0], theirs=[1000.0]),
    ]
    assert compare.table(document).splitlines() == [
        "| | actorsys | multiprocessing Pipe (process) | Ray (process) |",
        "|---|---:|---:|---:|",
        "| ask, p50 | 55 us | 30 us, 0.5 x | 500 us, **10 x** |",
        "| tells, counted at the receiver | 1,000/s | - | 100,000/s, 0.01 x |",
        "| memory per actor (PSS) | 1 KiB | - | 1,000 KiB, **1,000 x** |",
    ]


def test_a_peer_that_is_not_installed_is_skipped_by_name_with_the_command(compare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    about = type(compare.PEERS["pipe"])
    monkeypatch.setitem(compare.PEERS, "ray", about("Ray", "process", module="nobody_has_this", install="pip install ray"))
    erlang = about("Erlang/OTP", "light process", program="nobody_has_this", install="apt-get install -y erlang-base")
    monkeypatch.setitem(compare.PEERS, "erlang", erlang)
    document = compare.compare_all(["ray", "erlang"], compare.QUICK, quick=True)
    assert document.cells == []
    assert document.notes == [
        "Ray is skipped: not installed; `pip install ray` installs it",
        "Erlang/OTP is skipped: not installed; `apt-get install -y erlang-base` installs it",
    ]


def test_each_peer_has_every_verb_or_says_why_not(compare: Any) -> None:
    for name, about in compare.PEERS.items():
        tree = ast.parse((COMPARE / "peers" / f"{name}.py").read_text())
        (peer,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Peer")
        verbs = {node.name for node in peer.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert {verb for verb in verbs if not verb.startswith("_")} == VERBS - about.lacks.keys(), name


@pytest.mark.slow
def test_a_name_that_nobody_has_is_a_usage_error() -> None:
    done = subprocess.run(
        [sys.executable, str(COMPARE / "compare.py"), "smalltalk"], check=False, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2
    assert "smalltalk" in done.stderr
