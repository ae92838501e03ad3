"""The example of the mixin, as its page says to run it."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from actorsys.testing.nats import require_server, run_server
from actorsys.testing.waiting import until

EXAMPLE = Path(__file__).parents[2] / "examples" / "existing_class"


@pytest.mark.slow
def test_the_example_prints_what_its_page_shows(tmp_path: Path) -> None:
    require_server()

    def body(url: str) -> None:
        env = {**os.environ, "NATS_URL": url}
        log = tmp_path / "library.log"
        with log.open("wb") as output:
            library = subprocess.Popen([sys.executable, EXAMPLE / "library.py"], env=env, stdout=output, stderr=output)
        try:
            listed = [sys.executable, "-m", "actorsys", "agents", "-o", "json", "--capability", "books", "--wait", "300ms"]
            until(lambda: b'"library"' in subprocess.run(listed, env=env, capture_output=True, check=False).stdout, 60)
            done = subprocess.run(
                [sys.executable, EXAMPLE / "reader.py"], env=env, capture_output=True, text=True, timeout=60, check=False
            )
            shown = re.search(r"^\$ python reader.py\n(.*?)^\$", (EXAMPLE / "README.md").read_text(), re.MULTILINE | re.DOTALL)
            assert shown is not None
            assert (done.returncode, done.stdout) == (0, shown[1]), done.stderr
            until(lambda: "reader tells everyone: the reader goes home" in log.read_text())
            assert "reader wants a list, at priority 1" in log.read_text()
            library.send_signal(signal.SIGINT)
            assert library.wait(30) == 0, log.read_text()
        finally:
            library.kill()
            library.wait()

    async def main() -> None:
        async with run_server(tmp_path / "nats", token="t") as server:
            await asyncio.to_thread(body, server.url.replace("://", "://t@"))

    asyncio.run(main())
