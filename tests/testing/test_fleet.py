import os
import time
from pathlib import Path

import pytest

from actorsys import Supervisor, run
from actorsys.testing.children import Obedient
from actorsys.testing.fleet import Usage, wait_answers
from actorsys.testing.nats import require_server, run_server
from actorsys.testing.waiting import until


@pytest.mark.slow
def test_those_that_do_not_answer_are_named(tmp_path: Path) -> None:
    require_server()

    async def missing() -> tuple[set[str], set[str]]:
        async with run_server(tmp_path / "nats") as server:
            url = server.url.replace("://", f"://{server.info.token}@")
            async with Supervisor(nats=url) as sup:
                await sup.spawn(Obedient, name="left-one")
                await sup.spawn(Obedient, name="right")
                all_there = await wait_answers(sup, server, ["left-one", "right"], 10.0)
                return all_there, await wait_answers(sup, server, ["right", "nobody"], 0.5)

    assert run(missing()) == (set(), {"nobody"})


@pytest.mark.slow
def test_usage_is_the_share_of_one_core_since_it_was_made() -> None:
    usage, began = Usage([os.getpid()]), time.process_time()
    until(lambda: sum(range(10_000)) and time.process_time() - began > 0.2)  # the kernel tells it some milliseconds late
    share, wakes = usage.so_far()
    assert 0.01 < share < 1.1
    assert wakes >= 0
    assert "of a core (" in usage.text(10)
