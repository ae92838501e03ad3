"""The benchmarks run, count what they claim, and are told apart from their targets. How fast they are is not tested."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest

from actorsys.testing.nats import require_server

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NAMES = (
    "roundtrip", "between", "throughput", "concurrent", "fanout", "large", "spawn", "memory", "restart", "custody", "state", "durable",
    "nats", "growth", "nodes", "llm",
)  # fmt: skip
FLOORS = {
    "ask_direct_p50": "loop",
    "ask_between_p50": "relay",
    "tell_between": "codec",
    "ask_outstanding": "codec",
    "fan_ask_64_p50": "fan64",
    "large_1m": "bulk1m",
    "pss": "idle",
    "durable_tells": "sync",
    "ask_beside_100_p50": "beside 10",
    "nats_request_p50": "nats-py",
    "nats_publish": "nats-py pub",
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench") / "pictures"


@pytest.fixture(scope="module")
def result(pictures: Path) -> dict[str, Any]:
    require_server()
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--smoke", "--json", "--plot", str(pictures)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
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
    for id in (
        "tell_between",
        "tell_direct",
        "fan_tells_8",
        "fan_tells_64",
        "durable_tells",
        "nats_publish",
        "nats_publish_envelope",
    ):
        assert rows[id]["sent"] == rows[id]["received"] == rows[id]["samples"]


def test_a_latency_is_told_with_its_tail(result: dict[str, Any]) -> None:
    rows = rows_of(result)
    latencies = [id.removesuffix("_p99_9") for id in rows if id.endswith("_p99_9")]
    assert len(latencies) > 10
    for id in latencies:
        spread = rows[f"{id}_p50"]["spread"]
        assert spread == sorted(spread)
        assert rows[f"{id}_p99"]["figure"] <= rows[f"{id}_p99_9"]["figure"] == spread[-1]
        assert rows[f"{id}_p50"]["samples"] == rows[f"{id}_p99_9"]["samples"]


def test_every_target_has_its_row(result: dict[str, Any], load: Any) -> None:
    large = {id for id in load("targets").TARGETS if "_1000" in id}  # of the fleets that only a full run starts
    assert load("targets").TARGETS.keys() - rows_of(result).keys() == large
    assert {verdict["row"] for verdict in result["verdicts"]} == load("targets").TARGETS.keys() - large


def test_the_pictures_show_what_was_measured(result: dict[str, Any], pictures: Path) -> None:
    shown = {name: list(ET.parse(pictures / name).getroot().itertext()) for name in ("latency.svg", "growth.svg")}
    assert any(text.startswith("supervisor to agent, ") for text in shown["latency.svg"])
    assert {"p50", "p99", "p99.9"} <= set(shown["latency.svg"])
    assert {"start, with NATS", "memory per agent", "stop", "10", "100"} <= set(shown["growth.svg"])


def test_nothing_is_drawn_of_what_was_not_measured(load: Any, tmp_path: Path) -> None:
    load("run").draw(tmp_path, [])
    assert list(tmp_path.iterdir()) == []


def test_the_table_shows_each_row_with_figure_floor_and_target(result: dict[str, Any], load: Any) -> None:
    documents = msgspec.convert(result["documents"], list[load("measure").Document])
    text = load("run").table(documents)
    for row in rows_of(result).values():
        assert row["what"] in text
    assert "<= 2.5 x loop" in text
    assert ">= 100,000/s (first)" in text


def test_a_missed_target_says_so(load: Any) -> None:
    row = load("measure").Row(id="stop_1000", what="stop", unit="s", figure=5.1, samples=1, rounds=1)
    document = load("measure").Document(bench="x", question="Why?", quick=True, seconds=1.0, machine={}, versions={}, rows=[row])
    assert load("run").table([document]).splitlines()[-1].split() == ["stop", "1", "5.1", "s", "<=", "5", "s", "not", "met"]
    row.figure = 5.0
    assert load("run").table([document]).splitlines()[-1].split()[-2:] == ["s", "met"]


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
    assert figures.keys() == {
        "pair_us", "loop_us", "relay_us", "codec_per_s", "frames_per_s", "fan8_us", "fan64_us", "bulk64k_mib_per_s", "bulk1m_mib_per_s",
        "fork_ms", "idle_mib",
    }  # fmt: skip
    assert all(figure > 0 for figure in figures.values())


def test_a_benchmark_that_needs_a_server_is_skipped_where_there_is_none(
    load: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    measure = load("measure")
    monkeypatch.setattr(measure, "find_server", lambda: None)
    with pytest.raises(SystemExit) as ended:
        measure.need_nats()
    assert ended.value.code == measure.SKIPPED
    assert "skipped, no nats-server found" in capfd.readouterr().err


@pytest.mark.parametrize(("code", "ended"), [(77, 0), (1, 1), (-9, 1)])
def test_a_benchmark_that_fails_is_a_failure_and_one_that_is_skipped_is_not(
    load: Any, monkeypatch: pytest.MonkeyPatch, code: int, ended: int
) -> None:
    run = load("run")
    monkeypatch.setattr(run, "run", lambda name, *flags: code)
    monkeypatch.setattr(sys, "argv", ["run.py", "nats"])
    assert run.main() == ended
