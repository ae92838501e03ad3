"""The benchmarks run, count what they claim, and are told apart from their targets. How fast they are is not tested."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from actorsys.testing.nats import require_server

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NAMES = ("roundtrip", "throughput", "spawn", "restart", "custody", "state", "nats")
FLOORS = {
    "ask_direct_p50": "loop",
    "ask_between_p50": "relay",
    "tell_between": "codec",
    "ask_outstanding": "codec",
    "nats_request_p50": "nats-py",
    "nats_publish": "nats-py pub",
}


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    require_server()
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--quick", "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import modules of the folder as its scripts do."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)

    def imported(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield imported
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def rows_of(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for document in result["documents"] for row in document["rows"]}


def test_each_benchmark_prints_one_document_that_says_where_it_was_made(result: dict[str, Any]) -> None:
    assert [document["bench"] for document in result["documents"]] == list(NAMES)
    for document in result["documents"]:
        assert document["question"].endswith("?")
        assert document["quick"] is True
        assert {"system", "processor", "cores", "load_before"} <= document["machine"].keys()
        assert {"python", "actorsys", "msgspec", "uvloop"} <= document["versions"].keys()


def test_each_row_has_samples_and_a_figure(result: dict[str, Any]) -> None:
    for row in rows_of(result).values():
        assert row["figure"] > 0, row
        assert row["samples"] > 0, row
        assert row["rounds"] > 0, row


def test_figures_stand_beside_the_floor_of_the_same_round(result: dict[str, Any]) -> None:
    rows = rows_of(result)
    for id, floor in FLOORS.items():
        assert rows[id]["floor"] == floor
        assert rows[id]["floor_figure"] > 0
        assert rows[id]["ratio"] > 0


def test_the_receiver_counted_every_message(result: dict[str, Any]) -> None:
    rows = rows_of(result)
    for id in ("tell_between", "tell_direct", "nats_publish", "nats_publish_envelope"):
        assert rows[id]["sent"] == rows[id]["received"] == rows[id]["samples"]


def test_every_row_has_its_targets_and_every_target_its_row(result: dict[str, Any], load: Any) -> None:
    assert rows_of(result).keys() == load("targets").TARGETS.keys()
    assert {verdict["row"] for verdict in result["verdicts"]} <= rows_of(result).keys()


def test_the_table_shows_each_row_with_figure_floor_and_target(result: dict[str, Any], load: Any) -> None:
    documents = msgspec.convert(result["documents"], list[load("measure").Document])
    text = load("run").table(documents)
    for row in rows_of(result).values():
        assert row["what"] in text
    assert "<= 2.5 x loop" in text
    assert ">= 100,000/s (first)" in text


def test_a_quantile_is_a_sample(load: Any) -> None:
    quantile = load("measure").quantile
    samples = list(range(1, 1001))
    assert [quantile(samples, share) for share in (0.5, 0.99, 0.999, 1.0)] == [500, 990, 999, 1000]
    assert quantile([7.0], 0.5) == quantile([7.0], 0.999) == 7.0


@pytest.mark.parametrize(("script", "unknown"), [("run.py", "speed"), ("floors.py", "speed")])
def test_a_name_that_nothing_has_is_a_usage_error(script: str, unknown: str) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), unknown], check=False, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2
    assert unknown in done.stderr


def test_floors_alone_print_one_document() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "floors.py"), "--rounds", "20"], check=False, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures.keys() == {"pair_us", "loop_us", "relay_us", "codec_per_s", "frames_per_s", "fork_ms"}
    assert all(figure > 0 for figure in figures.values())
