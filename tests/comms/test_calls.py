"""What reaches other nodes while the connection is away, over a bus inside this process."""

from typing import Any

import pytest

from actorsys import AskTimeout
from actorsys.bus.base import Incoming
from actorsys.bus.local import LocalBus, LocalHub
from actorsys.bus.nats_options import NatsOptions
from actorsys.clock import now_ns
from actorsys.comms import calls as module
from actorsys.comms.calls import Calls, Where
from actorsys.mailbox.codec import encode
from actorsys.mailbox.letter import ASK, Letter
from actorsys.units import SECOND_NS


class Paced(LocalBus):
    """The bus of one of 300 agents: its connection comes back just within the longest wait between two tries."""

    def __init__(self, hub: LocalHub) -> None:
        super().__init__(hub)
        self.hub = hub
        self.connects = 1
        self.reconnect_max = NatsOptions.parse("localhost").paced(300).reconnect_max

    async def wait_connected(self, timeout: float) -> None:
        if timeout > self.reconnect_max:
            self.hub.start()
        await super().wait_connected(0.0)

    async def request(self, subject: str, payload: bytes, timeout: float, *, again: Any = None, **options: Any) -> Incoming:
        return await super().request(subject, payload, timeout, **options)


def test_an_ask_waits_for_a_connection_as_long_as_a_paced_one_may_take(run: Any) -> None:
    async def main() -> None:
        async with LocalBus(hub := LocalHub()) as far, Paced(hub) as bus:

            async def answer(incoming: Incoming) -> None:
                await far.publish(incoming.reply, incoming.payload)

            await far.subscribe("agents.request.bee", answer)

            async def where(name: str) -> Where:
                return Where(False, heard=True)

            calls = Calls(bus, sender="ann", node="n", run="1", inbox="_INBOX_ann", where=where)  # type: ignore[arg-type]
            hub.stop()
            letter = Letter(ASK, 0, "bee", "", "", encode("hello"), deadline=now_ns() + 30 * SECOND_NS)
            assert await calls.ask(letter, "", Any, idempotent=False) == "hello"

    run(main)


def test_of_the_names_that_do_not_answer_no_more_than_so_many_are_remembered(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(module, "MAX_NAMES", 2)
        async with LocalBus(hub := LocalHub()) as far, Paced(hub) as bus:

            async def answer(incoming: Incoming) -> None:
                await far.publish(incoming.reply, incoming.payload)

            async def where(name: str) -> Where:
                return Where(False, heard=True, is_ours=True)

            calls = Calls(bus, sender="ann", node="n", run="1", inbox="_INBOX_ann", where=where)  # type: ignore[arg-type]
            for number in range(3):
                letter = Letter(ASK, 0, f"bee{number}", "", "", encode("hello"), deadline=now_ns() + SECOND_NS // 100)
                with pytest.raises(AskTimeout):
                    await calls.ask(letter, "", Any, idempotent=False)
            assert list(calls.breakers) == ["bee1", "bee2"]
            assert (len(calls._apart), len(calls._unconfirmed)) == (2, 0)
            await far.subscribe("agents.request.bee1", answer)
            letter = Letter(ASK, 0, "bee1", "", "", encode("hello"), deadline=now_ns() + 30 * SECOND_NS)
            assert await calls.ask(letter, "", Any, idempotent=False) == "hello"
            assert list(calls.breakers) == ["bee2"]

    run(main)
