"""actorsys and its peers in the same scenarios: one markdown table and one JSON document.

    make compare [QUICK=1] [JSON=FILE]
    python benchmarks/compare/compare.py [NAME ...] [--quick] [--json FILE]

Machines have slow phases, so a figure alone says little. Both sides of a pair are up at the same time and measured in turn
(A B A B ...), a fraction of a second each; what counts is the median of the ratios of neighbouring runs. The first pair warms up.
"""

import argparse
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import msgspec
from driver import Driver, Failed, end_below
from loops import FAN, OUTSTANDING
from msgspec import Struct
from peers import OURS, PEERS
from targets import number

from actorsys.process import kernel

CALL = 45.0  # seconds for one call at most
ENDINGS = (signal.SIGINT, signal.SIGTERM)


class Size(Struct, frozen=True):
    pairs: int
    seconds: float  # of one run
    kills: int
    spawns: int
    limit: float  # for all: what a peer does not use is left to those after it


FULL = Size(pairs=7, seconds=1.0, kills=7, spawns=3, limit=1500.0)
QUICK = Size(pairs=3, seconds=0.25, kills=2, spawns=1, limit=220.0)

Figures = dict[str, float]  # by id of the row


class Row(Struct, frozen=True):
    id: str
    what: str
    unit: str
    is_rate: bool = False  # more is better

    def ahead(self, ours: float, theirs: float) -> float:
        """How many times as good as the peer we are.

        >>> Row("a", "", "us").ahead(50, 100), Row("b", "", "/s", True).ahead(50, 100)
        (2.0, 0.5)
        """
        return ours / theirs if self.is_rate else theirs / ours


ROWS = {
    row.id: row
    for row in (
        Row("ask_p50", "ask, p50", "us"),
        Row("ask_p99", "ask, p99", "us"),
        Row("asks", f"asks, {OUTSTANDING} outstanding", "/s", is_rate=True),
        Row("tells", "tells, counted at the receiver", "/s", is_rate=True),
        Row("between_p50", "ask, actor to actor, p50", "us"),
        Row("between_p99", "ask, actor to actor, p99", "us"),
        Row("fan_out", f"tells to {FAN} actors in turn", "/s", is_rate=True),
        Row("echo", "1 MiB there and back", "MiB/s", is_rate=True),
        Row("spawn", "actors up and answering", "/s", is_rate=True),
        Row("memory", "memory per actor (PSS)", "KiB"),
        Row("kill", "kill to next answer, p50", "ms"),
    )
}


class Cell(Struct):
    """One row against one peer; the runs in the order they were made, so that neighbours can be compared."""

    row: str
    peer: str
    ours: list[float]
    theirs: list[float]

    @property
    def ratio(self) -> float:
        return statistics.median(map(ROWS[self.row].ahead, self.ours, self.theirs))


class Document(Struct):
    quick: bool
    seconds: float
    machine: dict[str, str | int | float]
    versions: dict[str, str]
    cells: list[Cell]
    notes: list[str]  # what was skipped, failed or lost


def quantile(samples: Sequence[float], share: float) -> float:
    """
    >>> quantile([4, 1, 3, 2], 0.5), quantile([4, 1, 3, 2], 0.99)
    (2, 4)
    """
    return sorted(samples)[max(0, -int(-share * len(samples) // 1) - 1)]


class Side:
    """One peer, started, and the figures of one run of each scenario."""

    def __init__(self, name: str, until: float) -> None:
        self.about, self._until = PEERS[name], until
        self.lost = 0
        self._driver = Driver(name)
        try:
            self.version = self._call("start")
        except BaseException:
            self._driver.close()
            raise

    def close(self) -> None:
        self._driver.close()

    def _call(self, verb: str, *arguments: object) -> Any:
        left = self._until - time.monotonic()
        if left <= 0:
            raise Failed("no time left")
        try:
            return self._driver.call(verb, *arguments, timeout=min(CALL, left))
        except Failed as error:
            raise Failed(f"{self.about.shown}: {error}") from None

    def ask(self, seconds: float, verb: str = "ask") -> Figures:
        taken = self._call(verb, seconds)
        return {f"{verb}_p50": quantile(taken, 0.5) / 1e3, f"{verb}_p99": quantile(taken, 0.99) / 1e3}

    def between(self, seconds: float) -> Figures:
        return self.ask(seconds, "between")

    def asks(self, seconds: float) -> Figures:
        count, taken = self._call("asks", seconds)
        return {"asks": count / taken}

    def tells(self, seconds: float, to: int = 1, id: str = "tells") -> Figures:
        sent, received, taken = self._call("tells", to, seconds)
        self.lost += sent - received
        return {id: received / taken}

    def fan_out(self, seconds: float) -> Figures:
        return self.tells(seconds, FAN, "fan_out")

    def echo(self, seconds: float) -> Figures:
        count, taken = self._call("echo", seconds)
        return {"echo": count / taken}

    def spawn(self, seconds: float) -> Figures:
        before = self._driver.pss()
        count = self.about.spawned
        taken = self._call("spawn", count)
        return {"spawn": count / taken, "memory": max(1.0, self._driver.pss() - before) / count}

    def kill(self, seconds: float) -> Figures:
        return {"kill": self._call("kill") * 1e3}


def scenarios(size: Size) -> Iterator[tuple[Callable[[Side, float], Figures], int]]:
    """What is run, and how many pairs of it count."""
    for run in (Side.ask, Side.asks, Side.tells, Side.between, Side.fan_out, Side.echo):
        yield run, size.pairs
    yield Side.kill, size.kills
    yield Side.spawn, size.spawns  # last: what it starts stays


def compare(name: str, size: Size, until: float, document: Document) -> None:
    """One peer against ours, into the document; what fails is noted, and the next scenario goes on."""
    about = PEERS[name]
    with ExitStack() as stack:
        ours = stack.enter_context(closing(Side(OURS, until)))
        theirs = stack.enter_context(closing(Side(name, until)))
        document.versions[OURS], document.versions[about.shown] = ours.version, theirs.version
        for run, pairs in scenarios(size):
            if why := about.lacks.get(run.__name__):
                document.notes.append(f"{about.shown}: no {run.__name__}: {why}")
                continue
            try:
                document.cells += in_turn(run, pairs, size, name, ours, theirs)
            except Failed as error:
                document.notes.append(f"{about.shown}: no {run.__name__}: {error}")
        for side in (ours, theirs):
            if side.lost:
                document.notes.append(f"{side.about.shown}: {side.lost} tells were not counted at the receiver")


def in_turn(run: Callable[[Side, float], Figures], pairs: int, size: Size, name: str, ours: Side, theirs: Side) -> list[Cell]:
    if run is not Side.spawn:  # what it starts stays
        for side in (ours, theirs):
            run(side, min(0.1, size.seconds))
    both = [(run(ours, size.seconds), run(theirs, size.seconds)) for _ in range(pairs)]
    return [Cell(id, name, [our[id] for our, _ in both], [their[id] for _, their in both]) for id in both[0][0]]


def compare_all(names: Sequence[str], size: Size, *, quick: bool) -> Document:
    began = time.monotonic()
    machine: dict[str, str | int | float] = {
        "system": platform.platform(),
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }
    document = Document(quick, 0.0, machine, {}, [], [])
    there = []
    for name in names:
        if why := PEERS[name].missing():
            document.notes.append(why)
        else:
            there.append(name)
    for left, name in zip(range(len(there), 0, -1), there, strict=True):
        print(f"{PEERS[name].shown} ...", file=sys.stderr, flush=True)
        now = time.monotonic()
        try:
            compare(name, size, now + (began + size.limit - now) / left, document)
        except Failed as error:
            document.notes.append(f"{PEERS[name].shown}: not started: {error}")
        finally:
            end_below(os.getpid())  # orphans of a driver that died
    document.seconds = round(time.monotonic() - began, 1)
    return document


def table(document: Document) -> str:
    """Rows are scenarios, columns peers; a cell has the peer's figure and how many times as good ours was beside it, bold where better."""
    names = [name for name in PEERS if any(cell.peer == name for cell in document.cells)]
    heads = [f"{PEERS[name].shown} ({PEERS[name].actor})" for name in names]
    lines = ["| | " + " | ".join([OURS, *heads]) + " |", "|---" + "|---:" * (len(names) + 1) + "|"]
    for row in ROWS.values():
        cells = {cell.peer: cell for cell in document.cells if cell.row == row.id}
        if cells:
            ours = statistics.median(figure for cell in cells.values() for figure in cell.ours)
            shown = [_cell(row, cells.get(name)) for name in names]
            lines.append("| " + " | ".join([row.what, number(ours, row.unit), *shown]) + " |")
    return "\n".join(lines)


def _cell(row: Row, cell: Cell | None) -> str:
    if cell is None:
        return "-"
    ratio = number(cell.ratio, "x") if cell.ratio >= 0.1 else f"{cell.ratio:.1g} x"
    return f"{number(statistics.median(cell.theirs), row.unit)}, {f'**{ratio}**' if cell.ratio > 1 else ratio}"


def main() -> int:
    parser = argparse.ArgumentParser(description="actorsys and its peers in the same scenarios, in one markdown table.")
    choices = [name for name in PEERS if name != OURS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(choices)}; default: all")
    parser.add_argument("--quick", action="store_true", help="under 4 minutes, for a first look")
    parser.add_argument("--json", metavar="FILE", type=Path, help="where the document goes as well: every run of every pair")
    options = parser.parse_args()
    if unknown := set(options.names) - set(choices):
        parser.error(f"no peer is named {', '.join(sorted(unknown))}; there are {', '.join(choices)}")
    kernel.adopt_descendants()
    for ending in ENDINGS:
        signal.signal(ending, _ended)
    document = compare_all(
        [name for name in choices if name in options.names or not options.names],
        QUICK if options.quick else FULL,
        quick=options.quick,
    )
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    print(", ".join(f"{key} {value}" for key, value in document.machine.items()))
    print(", ".join(f"{name} {version}" for name, version in document.versions.items()) + "\n")
    print(table(document))
    if document.notes:
        print("\n" + "\n".join(f"- {note}" for note in document.notes))
    return int(not document.cells)


def _ended(number: int, frame: FrameType | None) -> None:
    for ending in ENDINGS:  # nothing interrupts the clearing up
        signal.signal(ending, signal.SIG_IGN)
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
