"""The far side of bench_nats.py, a process of its own: an agent's node, or the same work over nats-py and over our bus alone.

    python benchmarks/nats_side.py node|bare URL

Says that it is ready with one line, and ends at the end of its input.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable

import nats
from agents import Echo

import actorsys
from actorsys import Supervisor
from actorsys.bus.base import Incoming
from actorsys.bus.nats import NatsBus
from actorsys.bus.nats_options import NatsOptions

BARE, BUS = "bare", "bus"  # first token of the subjects of the two
MAX_WAITING = 1_000_000  # messages: none may be dropped, however slow this process is
COUNT_TIMEOUT = 30.0

Publish = Callable[[str, bytes], Awaitable[None]]


class Counting:
    """How many messages came; answers once all that were announced are here."""

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._count = 0
        self._news = asyncio.Event()

    def add(self) -> None:
        self._count += 1
        self._news.set()

    async def answer(self, wanted: int, reply: str) -> None:
        try:
            async with asyncio.timeout(COUNT_TIMEOUT):
                while self._count < wanted:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pass  # the number says it
        count, self._count = self._count, 0
        await self._publish(reply, str(count).encode())


async def bare(url: str) -> None:
    """`{bare|bus}.echo.{n}` is answered with n bytes, `.sink` is counted, `.count` answered with how many."""
    client = await nats.connect(url)
    bus = NatsBus(NatsOptions.parse(url), name="bench")
    counting, bus_counting = Counting(client.publish), Counting(bus.publish)
    answers: dict[str, bytes] = {}

    def made(subject: str) -> bytes:
        answers[subject] = bytes(int(subject.rpartition(".")[2]))
        return answers[subject]

    async def echo(msg: nats.aio.msg.Msg) -> None:
        await client.publish(msg.reply, answers.get(msg.subject) or made(msg.subject))

    async def sink(msg: nats.aio.msg.Msg) -> None:
        counting.add()

    async def count(msg: nats.aio.msg.Msg) -> None:
        await counting.answer(int(msg.data), msg.reply)

    async def bus_echo(incoming: Incoming) -> None:
        await bus.publish(incoming.reply, answers.get(incoming.subject) or made(incoming.subject))

    async def bus_sink(incoming: Incoming) -> None:
        bus_counting.add()

    async def bus_count(incoming: Incoming) -> None:
        await bus_counting.answer(int(incoming.payload), incoming.reply)

    async with bus:
        await bus.wait_connected(10.0)
        limits = {"pending_msgs_limit": MAX_WAITING, "pending_bytes_limit": 0}
        await client.subscribe(f"{BARE}.echo.*", cb=echo)
        await client.subscribe(f"{BARE}.sink", cb=sink, **limits)
        await client.subscribe(f"{BARE}.count", cb=count)
        await client.flush()
        await bus.subscribe(f"{BUS}.echo.*", bus_echo)
        await bus.subscribe(f"{BUS}.sink", bus_sink, max_messages=MAX_WAITING, max_bytes=2**30)
        await bus.subscribe(f"{BUS}.count", bus_count)
        await until_end()
    await client.close()


async def node(url: str) -> None:
    async with Supervisor(nats=url, name="far") as sup:
        await sup.spawn(Echo, name="echo")
        while sup.children()[0]["nats"] != "connected":  # noqa: ASYNC110 - the state of a child has no event
            await asyncio.sleep(0.01)
        await until_end()


async def until_end() -> None:
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    actorsys.run({"node": node, "bare": bare}[sys.argv[1]](sys.argv[2]))
