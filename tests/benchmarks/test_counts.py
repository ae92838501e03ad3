"""The guard against regressions lets through what is as it was, and names what has grown. Its counts are the same on each run."""

import asyncio
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import actorsys
from actorsys.bus import envelope, stamp
from actorsys.bus.base import Incoming
from actorsys.bus.nats import NatsBus
from actorsys.bus.nats_options import NatsOptions
from actorsys.bus.nats_server import find_server
from actorsys.messages import Failure
from actorsys.testing.nats import require_server, run_server

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
REFERENCE = {"ask: calls of the agent": 60.0, "ask: writes of the agent": 1.0, "tell: reads of the agent": 0.02}


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield importlib.import_module("counts")
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def python(counts: Any) -> str:
    return str(counts._python())


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        (REFERENCE, []),
        ({**REFERENCE, "ask: calls of the agent": 66.0}, []),
        ({**REFERENCE, "ask: calls of the agent": 70.0}, ["ask: calls of the agent"]),
        ({**REFERENCE, "ask: writes of the agent": 2.0}, ["ask: writes of the agent"]),
        ({**REFERENCE, "tell: reads of the agent": 0.05}, []),  # chance: which tells share a frame
        ({**REFERENCE, "tell: reads of the agent": 1.0}, ["tell: reads of the agent"]),
        ({**REFERENCE, "ask: calls of the agent": 30.0}, []),
        ({}, []),  # without strace there is less to compare
    ],
)
def test_only_what_has_grown_is_named(counts: Any, found: dict[str, float], wrong: list[str]) -> None:
    assert counts.compare(found, REFERENCE, python(counts)) == wrong


def test_function_calls_are_compared_with_those_of_the_same_python_only(counts: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found = {name: 10 * count for name, count in REFERENCE.items()}
    assert counts.compare(found, REFERENCE, "3.10") == ["ask: writes of the agent", "tell: reads of the agent"]
    assert "not compared: the reference is of Python 3.10" in capsys.readouterr().out


def test_what_could_not_be_counted_stays_as_it_was(counts: Any) -> None:
    reference = {"ask: calls of the agent": 60.0, "ask: gone of the agent": 1.0, "ask: system calls of all processes": 8.0}
    nats = {"nats: reads of the agent": 2.0, "nats: calls of the agent": 180.0}
    found = {"ask: calls of the agent": 50.0}
    before = reference | nats
    assert counts.renewed(found, before, python(counts)) == found | nats | {"ask: system calls of all processes": 8.0}
    assert counts.renewed(found, before, "3.10") == found | {"nats: reads of the agent": 2.0}  # calls are of one Python
    assert counts.renewed(before, reference, python(counts)) == before


@pytest.mark.parametrize("said", ["print('failed')", "pass"])
def test_a_client_that_does_not_get_its_answers_ends_the_count(counts: Any, said: str) -> None:
    async def main() -> None:
        pipes: Any = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
        client = await asyncio.create_subprocess_exec(sys.executable, "-c", f"input(); {said}", **pipes)
        with pytest.raises(RuntimeError, match="did not get its 5 answers"):
            await counts.requested(client, 5)
        await client.communicate()

    asyncio.run(main())


@pytest.mark.slow
def test_an_error_is_no_answer(counts: Any, tmp_path: Path) -> None:
    require_server()

    async def main() -> None:
        async with run_server(tmp_path) as server:
            url = server.url.replace("://", f"://{server.info.token}@")
            async with NatsBus(NatsOptions.parse(url)) as bus:

                async def refuse(incoming: Incoming) -> None:
                    asked = envelope.decode(incoming.payload, limit=2**20)
                    refusal = envelope.error(
                        asked, Failure(kind="BadMessage", type="BadMessage", message="no"), stamp.fresh(), sender="counted"
                    )
                    await bus.publish(incoming.reply, envelope.encode(refusal))

                await bus.subscribe("agents.request.counted", refuse)
                await bus.wait_connected(5.0)
                await bus.flush()
                async with counts.side("counts_side.py", url) as client:
                    with pytest.raises(RuntimeError, match="did not get"):
                        await counts.requested(client, 1)

    asyncio.run(main())


@pytest.mark.slow
def test_what_is_counted_is_what_the_reference_names(counts: Any) -> None:
    reference = json.loads(counts.REFERENCE.read_text())["per_message"]
    found = actorsys.run(counts.counted())
    has_nats = find_server() is not None
    assert found.keys() == {
        name for name in reference if "system calls" not in name and (has_nats or not name.startswith("nats"))
    }
    assert all(count > 0 for count in found.values())
    assert found["ask: writes of the agent"] == pytest.approx(1, abs=0.1)
