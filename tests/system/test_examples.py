"""Examples that are more than an agents.toml, as their pages say to run them. The others are run by tests/test_docs.py."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from actorsys.testing.llm import FakeOpenAI
from actorsys.testing.nats import require_server, run_server
from actorsys.testing.waiting import until

EXAMPLES = Path(__file__).parents[2] / "examples"
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def copy(folder: Path):
    """A copy of an example, and what its page shows for a command."""

    def copy(name: str) -> Path:
        shutil.copytree(EXAMPLES / name, folder / name, ignore=shutil.ignore_patterns(".actorsys*", "__pycache__"))
        return folder / name

    return copy


def shown(folder: Path, command: str) -> str:
    page = (folder / "README.md").read_text()
    found = re.search(rf"^\$ {re.escape(command)}\n(.*?)^(?:\$|```)", page, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def python(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", *arguments]


@contextmanager
def running(folder: Path, argv: list[str], ready: str, **env: str) -> Iterator[Path]:
    """A program in the background, once its output says that it is ready; SIGINT ends it in order. Its output."""
    log = folder / f"{Path(argv[-1]).stem}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(argv, cwd=folder, env={**os.environ, **env}, stdout=output, stderr=output)
    try:
        until(lambda: re.search(ready, log.read_text()) or process.poll() is not None, 60)
        assert process.poll() is None, log.read_text()
        yield log
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def test_resume_pays_no_finished_step_twice(copy) -> None:
    here = copy("resume")
    done = subprocess.run(python("story.py"), cwd=here, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, shown(here, "python story.py")), done.stderr


def test_a_service_asks_and_streams_and_its_agents_end_with_it(copy) -> None:
    here = copy("service")
    argv = python("-m", "uvicorn", "--port", "0", "app:app")
    with running(here, argv, r"running on \S+:\d+") as log:
        address = re.search(r"running on (http://\S+:\d+)", log.read_text())
        assert address is not None

        def get(path: str) -> str:
            with urllib.request.urlopen(address[1] + path, timeout=30) as answer:
                return str(answer.read().decode())

        assert get("/ask?text=All+is+well.") + "\n" == shown(here, "curl 'localhost:8000/ask?text=All+is+well.'")
        assert get("/story?about=a+fox") + "\n" == shown(here, "curl -N 'localhost:8000/story?about=a+fox'")
        pid = int(re.search(r'"pid":(\d+)', get("/agents"))[1])  # type: ignore[index]
        os.kill(pid, signal.SIGKILL)
        assert get("/ask?text=Still+here.") == '{"answer":"Still here."}'
        assert '"restarts":1' in get("/agents")
        pid = int(re.search(r'"pid":(\d+)', get("/agents"))[1])  # type: ignore[index]
    until(lambda: not Path(f"/proc/{pid}").exists())


def test_in_hybrid_a_supervised_agent_and_a_program_ask_each_other_by_name(copy, folder: Path) -> None:
    require_server()
    here = copy("hybrid")

    def body(url: str) -> None:
        def order() -> subprocess.CompletedProcess[str]:
            argv = python("-m", *command.split())
            return subprocess.run(argv, cwd=here, env=env, capture_output=True, text=True, timeout=60, check=False)

        env = {**os.environ, "NATS_URL": url}
        command = "actorsys -f office.toml ask desk Order thing=book number=2"
        with running(here, python("-m", "actorsys", "supervise", "office.toml"), r"desk: connected to NATS", NATS_URL=url):
            assert order().stdout == '"the clerk is at lunch; start clerk.py"\n'
            with running(here, python("clerk.py"), r"the desk says.*\n", NATS_URL=url) as log:
                assert log.read_text() == shown(here, "python clerk.py")
                assert order().stdout == shown(here, command)

    async def main() -> None:
        async with run_server(folder / "nats", token="t") as server:
            await asyncio.to_thread(body, server.url.replace("://", "://t@"))

    asyncio.run(main())


def test_three_agents_talk_to_the_server_that_the_environment_names(copy) -> None:
    here = copy("three_agents")
    toml = here / "agents.toml"
    toml.write_text(toml.read_text().replace("every = 2.0", "every = 0.1"))
    with FakeOpenAI() as model:
        argv = python("-m", "actorsys", "supervise", "agents.toml")
        env = {"LLM_PROVIDER": "openai", "LLM_MODEL": "local", "OPENAI_BASE_URL": model.url}
        with running(here, argv, r"day 1: \w+ will be .*: echo: ", **env) as log:
            assert "worded by local" in ANSI.sub("", log.read_text())
        assert model.requests[0].headers["authorization"].startswith("Bearer ")
        assert "Oslo will be" in model.requests[0].asked
