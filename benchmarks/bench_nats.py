"""What does a message over NATS cost? The floor is bare nats-py, doing the same with the same bytes between two processes on that server."""

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter, perf_counter_ns

import nats
from agents import BODY, question
from measure import Latency, Row, Series, Size, need_nats, print_document, quantile, side
from nats_side import BARE, BUS

from actorsys import Supervisor
from actorsys.bus import envelope, stamp
from actorsys.bus.nats import NatsBus
from actorsys.bus.nats_options import NatsOptions
from actorsys.testing.nats import run_server

QUESTION = "What does a message over NATS cost?"
SIDE = "nats_side.py"
REQUESTS = 500  # a round
PUBLISHED = 20_000
WARM_UP = 500
SUBJECT = "agents.request.echo"
TIMEOUT = 10.0
PAYLOAD = bytes(160)

Once = Callable[[int, bytes], Awaitable[object]]


def asked(number: int) -> bytes:
    """The envelope of a question, as any NATS client writes it."""
    content = {"type": "Question", "id": number, "task": "process", "tags": ["a", "b"], "body": BODY}
    return envelope.encode(envelope.request("bench", "echo", content, stamp.fresh()))


async def rows(size: Size) -> list[Row]:
    need_nats()
    with tempfile.TemporaryDirectory() as folder:
        async with run_server(Path(folder) / "nats") as server:
            url = server.url.replace("://", f"://{server.info.token}@")
            async with (
                side(SIDE, "bare", url),
                side(SIDE, "node", url),
                Supervisor(nats=url, name="near") as sup,
                NatsBus(NatsOptions.parse(url), name="bench") as bus,
            ):
                await bus.wait_connected(TIMEOUT)
                client = await nats.connect(url)
                try:
                    return await measured(size, client, bus, sup)
                finally:
                    await client.close()


async def measured(size: Size, client: nats.aio.client.Client, bus: NatsBus, sup: Supervisor) -> list[Row]:
    first = await client.request(SUBJECT, asked(0), timeout=TIMEOUT)
    if envelope.decode(first.data, limit=2**20).content != 0:
        raise AssertionError(f"the agent answered {first.data!r}")
    echo, length = sup.agent("echo"), len(first.data)

    async def plain(number: int, data: bytes) -> None:
        await client.request(f"{BARE}.echo.{length}", data, timeout=TIMEOUT)

    async def agent(number: int, data: bytes) -> None:
        await client.request(SUBJECT, data, timeout=TIMEOUT)

    async def far(number: int, data: bytes) -> None:
        if await echo.ask(question(number)) != number:
            raise AssertionError(f"question {number} got a wrong answer")

    async def over_bus(number: int, data: bytes) -> None:
        await bus.request(f"{BUS}.echo.{length}", data, TIMEOUT)

    wanted: list[tuple[str, str, Once]] = [
        ("nats_request", "request of a plain client to an agent", agent),
        ("nats_ask", "ask, supervisor process to an agent of another node", far),
        ("nats_bus", "request and answer over our bus, no agent", over_bus),
    ]
    requests = [(Latency(id, what, "us", "nats-py"), once) for id, what, once in wanted]
    published = Series("nats_publish", "publish over our bus, counted where it arrives", "/s", "nats-py pub")
    told = Series("nats_publish_envelope", "the same, an envelope made and published", "/s", "nats-py pub")
    asks, count = size.count(REQUESTS), size.count(PUBLISHED)

    for once in (plain, agent, far, over_bus):
        await timed(once, WARM_UP)
    for _ in size.each_round():
        for latency, once in requests:
            floor = await timed(plain, asks)
            latency.add(await timed(once, asks), floor=quantile(floor, 0.5))
        for series, data in ((published, lambda number: PAYLOAD), (told, asked)):
            _, floor_rate = await rate(client.publish, client.request, BARE, data, count)
            received, ours_rate = await rate(bus.publish, bus.request, BUS, data, count)
            series.add(ours_rate, floor=floor_rate, samples=count)
            series.count(count, received)
    return [*(row for latency, _ in requests for row in latency.rows()), published.row(), told.row()]


async def timed(once: Once, count: int) -> list[float]:
    """Microseconds of each."""
    taken = []
    for number, data in enumerate([asked(number) for number in range(count)]):
        start = perf_counter_ns()
        await once(number, data)
        taken.append((perf_counter_ns() - start) / 1e3)
    return taken


async def rate(
    publish: Callable[[str, bytes], Awaitable[None]],
    request: Callable[..., Awaitable[object]],
    to: str,
    data: Callable[[int], bytes],
    count: int,
) -> tuple[int, float]:
    """How many were counted, and how many that is a second, from the first to the answer of who counted."""
    subject = f"{to}.sink"
    start = perf_counter()
    for number in range(count):
        await publish(subject, data(number))
    answer = await request(f"{to}.count", str(count).encode(), timeout=4 * TIMEOUT)
    seconds = perf_counter() - start
    received = int(getattr(answer, "data", None) or getattr(answer, "payload", b""))
    return received, received / seconds


if __name__ == "__main__":
    print_document("nats", QUESTION, rows)
