"""What all benchmarks share: rounds, floors in between, quantiles, and the document that each prints."""

import argparse
import asyncio
import os
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
from msgspec import Struct

import actorsys

FLOORS = Path(__file__).with_name("floors.py")
PACKAGES = ("actorsys", "msgspec", "uvloop")


class Row(Struct, kw_only=True):
    """One figure, with its floor where it has one."""

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


async def floor(name: str, rounds: int) -> float:
    """One floor, measured now, in processes of its own."""
    arguments = (sys.executable, str(FLOORS), name, "--rounds", str(rounds))
    process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"floors.py {name} exited with {process.returncode}")
    (figure,) = msgspec.json.decode(output, type=dict[str, float]).values()
    return figure


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


def tail(id: str, what: str, unit: str, samples: Sequence[float], share: float, rounds: int) -> Row:
    """A quantile of the samples of all rounds together; too few samples in one round tell nothing about a tail."""
    return Row(id=id, what=what, unit=unit, figure=quantile(samples, share), samples=len(samples), rounds=rounds)


def print_document(name: str, question: str, rows: Callable[[Size], Awaitable[list[Row]]]) -> None:
    """The main function of a benchmark: measure, then print one JSON document."""
    parser = argparse.ArgumentParser(description=f"{question} Prints one JSON document.")
    parser.add_argument("--quick", action="store_true", help="under 5 s, for a first look")
    quick = parser.parse_args().quick
    start = time.monotonic()

    async def main() -> list[Row]:
        return await rows(QUICK if quick else FULL)

    document = Document(
        bench=name,
        question=question,
        quick=quick,
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
