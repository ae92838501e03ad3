"""The example of two nodes, as its page says to run it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from actorsys.testing.nats import require_server, run_server
from actorsys.testing.waiting import until

EXAMPLE = Path(__file__).parents[2] / "examples" / "two_nodes"


@pytest.mark.parametrize("scheme", ["nats", "ws"])
def test_the_agents_of_two_nodes_ask_each_other_by_name(folder: Path, scheme: str) -> None:
    require_server()
    here = folder / "two_nodes"
    shutil.copytree(EXAMPLE, here, ignore=shutil.ignore_patterns(".actorsys*", "__pycache__"))

    def body(url: str) -> None:
        env = {**os.environ, "NATS_URL": url}

        def command(*words: str) -> subprocess.CompletedProcess[str]:
            argv = [sys.executable, "-m", "actorsys", *words]
            return subprocess.run(argv, cwd=here, env=env, capture_output=True, text=True, timeout=60, check=False)

        def listed() -> dict[str, Any]:
            done = command("agents", "-o", "json", "--wait", "500ms")
            return {row["name"]: row for row in json.loads(done.stdout or "[]")}

        nodes: dict[str, subprocess.Popen[bytes]] = {}

        def supervise(name: str) -> None:
            with (folder / f"{name}.log").open("ab") as output:
                argv = [sys.executable, "-m", "actorsys", "supervise", f"{name}.toml"]
                nodes[name] = subprocess.Popen(argv, cwd=here, env=env, stdout=output, stderr=output, start_new_session=True)

        try:
            supervise("north")
            supervise("south")
            until(lambda: set(listed()) == {"editor", "archive", "writer"}, 60)
            assert {row["node"] for row in listed().values()} == {"north", "south"}
            asked = ("-f", "north.toml", "ask", "editor", "Publish", "topic=bees")
            done = command(*asked)
            assert (done.returncode, done.stdout) == (0, '"BEES: they dance, and they make honey"\n'), done.stderr
            nodes["south"].kill()
            nodes["south"].wait()
            until(lambda: set(listed()) == {"editor", "archive"}, 60)
            failed = command(*asked)
            assert (failed.returncode in (1, 3), "'writer'" in failed.stderr) == (True, True), failed.stderr
            supervise("south")
            until(lambda: command(*asked).returncode == 0, 60)
            nodes["south"].send_signal(signal.SIGINT)
            assert nodes["south"].wait(30) == 0, (folder / "south.log").read_text()
            nodes["north"].send_signal(signal.SIGINT)
            assert nodes["north"].wait(30) == 0, (folder / "north.log").read_text()
        finally:
            for node in nodes.values():
                node.kill()
                node.wait()

    async def main() -> None:
        async with run_server(folder / "nats", token="t", websocket=True) as server:
            (url,) = server.info.urls if scheme == "nats" else server.info.websocket_urls
            assert url.startswith(f"{scheme}://")
            await asyncio.to_thread(body, url.replace("://", "://t@"))

    asyncio.run(main())
