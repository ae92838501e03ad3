import json
import os
import subprocess
import sys

import pytest

from actorsys.cli import bench


def test_benchmarks_that_are_not_there_are_said_to_be_missing(run, monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "PLACES", (tmp_path / "benchmarks",))
    result = run("bench")
    assert result.exit_code == 1
    assert f"the benchmarks are not installed: there is no {tmp_path / 'benchmarks'}" in result.stderr


@pytest.mark.parametrize(
    ("words", "passed"),
    [
        (["bench"], ["--"]),
        (["bench", "--quick", "nats", "large"], ["--quick", "--", "nats", "large"]),
        (["bench", "--json"], ["--json", "--"]),
        (["-o", "json", "bench"], ["--json", "--"]),
        (["bench", "--plot", "pictures"], ["--plot", "pictures", "--"]),
    ],
)
def test_what_was_asked_for_is_passed_on(run, monkeypatch, tmp_path, words, passed):
    (tmp_path / "run.py").write_text(
        "import json, sys, pathlib; pathlib.Path('passed').write_text(json.dumps(sys.argv[1:])); sys.exit(7)"
    )
    monkeypatch.setattr(bench, "PLACES", (tmp_path / "nowhere", tmp_path))
    assert run(*words).exit_code == 7
    assert json.loads((tmp_path / "passed").read_text()) == passed


def test_the_package_brings_them_and_only_them():
    wheel = pytest.importorskip("hatchling.builders.wheel").WheelBuilder(str(bench.PACKAGE.parent))
    files = {file.distribution_path for file in wheel.recurse_included_files()}
    brought = {file.removeprefix("actorsys/benchmarks/") for file in files if "benchmarks" in file}
    assert {"run.py", "measure.py", "floors.py", "bench_roundtrip.py", "reference.json"} <= brought
    assert not any("/" in file for file in brought)
    assert "actorsys/cli/bench.py" in files


@pytest.mark.slow
def test_one_question_is_answered_in_one_document_with_its_verdicts(tmp_path):
    command = [sys.executable, "-m", "actorsys", "bench", "--quick", "--json", "roundtrip"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [document["bench"] for document in said["documents"]] == ["roundtrip"]
    assert {verdict["row"] for verdict in said["verdicts"]} == {"ask_direct_p50"}
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_question_that_nobody_measures_is_a_usage_error(tmp_path):
    command = [sys.executable, "-m", "actorsys", "bench", "speed"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)
    assert done.returncode == 2
    assert "no benchmark is named speed; there are roundtrip, " in done.stderr
