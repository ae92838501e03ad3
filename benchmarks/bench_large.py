"""How fast do large payloads go? An ask carries one and is answered with it; a round trip counts it once, though it crosses twice."""

from time import perf_counter_ns

from agents import Blob, Echo
from measure import Latency, Row, Series, Size, floor, print_document, quantile

from actorsys import Ref, Supervisor

QUESTION = "How fast do large payloads go?"
PAYLOADS = {"64k": 2**16, "1m": 2**20}
ASKS = {"64k": 1000, "1m": 200}  # a round
WARM_UP = 20


async def rows(size: Size) -> list[Row]:
    found: list[Row] = []
    async with Supervisor(nats="off") as sup:
        echo = await sup.spawn(Echo, name="echo")
        for name, length in PAYLOADS.items():
            what = f"{'64 KiB' if name == '64k' else '1 MiB'}, ask and echo"
            rate = Series(f"large_{name}", f"{what}, supervisor process to agent", "MiB/s", f"bulk{name}")
            each = Latency(f"large_{name}", f"{what}, each", "us")
            asks, data = size.count(ASKS[name]), bytes(length)
            await echoed(echo, data, WARM_UP)
            for _ in size.each_round():
                beneath = await floor(f"bulk{name}", asks)
                taken = await echoed(echo, data, asks)
                rate.add(length / 2**20 / (quantile(taken, 0.5) / 1e6), floor=beneath, samples=asks)
                each.add(taken)
            found += [rate.row(), *each.rows()]
    return found


async def echoed(to: Ref, data: bytes, count: int) -> list[float]:
    """Microseconds of each round trip."""
    taken = []
    for _ in range(count):
        start = perf_counter_ns()
        answer = await to.ask(Blob(data))
        taken.append((perf_counter_ns() - start) / 1e3)
        if answer != data:
            raise AssertionError("a large payload came back changed")
    return taken


if __name__ == "__main__":
    print_document("large", QUESTION, rows)
