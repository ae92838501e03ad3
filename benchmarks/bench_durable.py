"""What does mail on disk cost? `durability = "disk"`; the floor is an append of 200 bytes and an fdatasync, on the same disk.

A tell is accepted when it is written. An ask is not written, as nobody waits for its answer when the supervisor is gone.
"""

import asyncio
import tempfile
from pathlib import Path
from time import perf_counter, perf_counter_ns

from agents import Count, Echo, Sink, job
from bench_roundtrip import ask_in_turn
from measure import Latency, Row, Series, Size, floor, print_document, syncs

from actorsys import Ref, Supervisor

QUESTION = "What does mail on disk cost?"
TELLS = 20_000  # a round
IN_TURN = 1000
SENDERS = 64
SYNCS = 1000
FLOOR_ROUNDS = 3000
WARM_UP = 200
DISK = {"durability": "disk"}


async def rows(size: Size) -> list[Row]:
    accepted = Latency("durable_tell", "tell, on the disk before the next", "us", "sync")
    rate = Series("durable_tells", f"tells, {SENDERS} senders, each accepted and counted at the receiver", "/s", "sync")
    asked = Latency("durable_ask", "ask of an agent whose mail is kept on the disk", "us", "loop")
    tells, in_turn = size.count(TELLS) // SENDERS * SENDERS, size.count(IN_TURN)
    with tempfile.TemporaryDirectory() as folder:
        async with Supervisor(nats="off", state_dir=Path(folder) / "state") as sup:
            sink = await sup.spawn(Sink, name="sink", mailbox=DISK)
            echo = await sup.spawn(Echo, name="echo", mailbox=DISK)
            await tell_in_turn(sink, WARM_UP)
            await ask_in_turn(echo, WARM_UP)
            for _ in size.each_round():
                beneath = syncs(Path(folder), size.count(SYNCS))
                accepted.add(await tell_in_turn(sink, in_turn), floor=1e6 / beneath)
                received, seconds = await tell_at_once(sink, tells)
                rate.add(received / seconds, floor=beneath, samples=tells)
                rate.count(tells, received)
                beneath = await floor("loop", size.count(FLOOR_ROUNDS))
                asked.add(await ask_in_turn(echo, in_turn), floor=beneath)
    return [*accepted.rows(), rate.row(), *asked.rows()]


async def tell_in_turn(to: Ref, count: int) -> list[float]:
    """Microseconds until each was accepted."""
    taken = []
    for number in range(count):
        start = perf_counter_ns()
        await to.tell(job(number))
        taken.append((perf_counter_ns() - start) / 1e3)
    if (received := await to.ask(Count(), timeout=60.0)) != count:
        raise AssertionError(f"{received} of {count} messages arrived")
    return taken


async def tell_at_once(to: Ref, count: int) -> tuple[int, float]:
    """How many came, and the seconds from the first tell to that answer."""

    async def sender() -> None:
        for number in range(count // SENDERS):
            await to.tell(job(number))

    start = perf_counter()
    await asyncio.gather(*(sender() for _ in range(SENDERS)))
    received = await to.ask(Count(), timeout=60.0)
    return received, perf_counter() - start


if __name__ == "__main__":
    print_document("durable", QUESTION, rows)
