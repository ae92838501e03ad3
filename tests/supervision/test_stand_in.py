"""Standing in for an agent, over a bus inside this process that can refuse."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from actorsys.bus.local import LocalBus, LocalHub
from actorsys.errors import ConfigError
from actorsys.supervision import stand_in as module
from actorsys.supervision.mail import Mail
from actorsys.supervision.stand_in import StandIn
from actorsys.testing.waiting import eventually


class Refusing(LocalBus):
    """Refuses the subject of requests so many times, as a server without the permission does."""

    refusals = 0

    async def subscribe(self, subject: str, *arguments: Any, **options: Any) -> Any:
        if subject.startswith("agents.request.") and self.refusals:
            self.refusals -= 1
            raise ConfigError("not permitted", where="nats")
        return await super().subscribe(subject, *arguments, **options)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY", 0.01)


async def commands(do: str, arguments: dict[str, Any]) -> Any:
    raise AssertionError(do)


def listening(hub: LocalHub) -> list[str]:
    return sorted(inbound.subject for inbound in hub.inbounds)


def test_what_is_refused_is_said_once_and_tried_again_until_it_is_permitted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with Refusing(hub := LocalHub()) as bus:
            bus.refusals = 3
            stand_in = StandIn(bus, Mail(commands, 2**20, tmp_path / "mail"), agent="bee", run="1")
            await eventually(lambda: listening(hub) == ["agents.direct.bee", "agents.request.bee"])
            await stand_in.close()
            assert listening(hub) == []

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert [record.message for record in caplog.records] == ["nobody stands in for bee on NATS: not permitted"]


def test_one_that_never_opened_can_be_closed_and_leaves_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with Refusing(hub := LocalHub()) as bus:
            bus.refusals = 10**6
            stand_in = StandIn(bus, Mail(commands, 2**20, tmp_path / "mail"), agent="bee", run="1")
            await eventually(lambda: bus.refusals < 10**6 - 2)
            await stand_in.close()
            assert listening(hub) == []

    asyncio.run(main())


def test_one_that_is_closed_at_once_leaves_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with LocalBus(hub := LocalHub()) as bus:
            stand_in = StandIn(bus, Mail(commands, 2**20, tmp_path / "mail"), agent="bee", run="1")
            await stand_in.close()
            assert listening(hub) == []

    asyncio.run(main())
