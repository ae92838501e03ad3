"""All benchmarks, one after another, and one table: question, floor, figure, ratio, target, met or not.

    python benchmarks/run.py [QUESTION ...] [--quick] [--json] [--plot DIR]

`actorsys bench` is the same. A figure that misses its target is a row, not an error: the exit code is 1 only when a benchmark failed.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from measure import SKIPPED, Document, Row
from plot import growth, latency
from targets import number, targets_of

HERE = Path(__file__).parent
BENCHES = (
    "roundtrip",
    "between",
    "throughput",
    "concurrent",
    "fanout",
    "large",
    "spawn",
    "memory",
    "restart",
    "custody",
    "state",
    "durable",
    "nats",
    "growth",
    "nodes",
    "llm",
)
TIMEOUT = 600.0  # seconds for one; a slow machine is no reason to give up
COLUMNS = ("", "samples", "floor", "figure", "ratio", "target", "met")


def run(name: str, *flags: str) -> Document | int:
    """The document of one benchmark, or its exit code when there is none; why, it said on stderr."""
    arguments = [sys.executable, str(HERE / f"bench_{name}.py"), *flags]
    try:
        done = subprocess.run(arguments, check=False, stdout=subprocess.PIPE, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        print(f"bench_{name}.py did not end within {TIMEOUT:g} s", file=sys.stderr)
        return 1
    if done.returncode:
        if done.returncode != SKIPPED:
            print(f"bench_{name}.py exited with {done.returncode}", file=sys.stderr)
        return done.returncode
    return msgspec.json.decode(done.stdout, type=Document)


def table(documents: Sequence[Document]) -> str:
    lines: list[Sequence[str]] = [COLUMNS]
    for document in documents:
        lines.append((document.question,))
        for row in document.rows:
            lines += _lines(row)
    widths = [max(len(line[column]) for line in lines if len(line) == len(COLUMNS)) for column in range(len(COLUMNS))]
    return "\n".join(_aligned(line, widths) if len(line) > 1 else f"\n{line[0]}" for line in lines)


def _lines(row: Row) -> list[Sequence[str]]:
    """A row of the table, and one below it for each further target."""
    floor = f"{row.floor} {number(row.floor_figure, row.unit)}" if row.floor_figure is not None else ""
    ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
    targets = [(target.shown(row.unit), "met" if target.is_met(row) else "not met") for target in targets_of(row)] or [("", "")]
    first = (f"  {row.what}", f"{row.samples:,}", floor, number(row.figure, row.unit), ratio, *targets[0])
    return [first, *(("", "", "", "", "", *more) for more in targets[1:])]


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    """The numbers to the right, the words to the left."""
    cells = [
        cell.rjust(width) if 1 <= column <= 4 else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def header(document: Document) -> str:
    machine = ", ".join(f"{key} {value}" for key, value in document.machine.items())
    versions = ", ".join(f"{name} {version}" for name, version in document.versions.items())
    return f"{machine}\n{versions}\n"


def verdicts(documents: Sequence[Document]) -> list[dict[str, object]]:
    """What --json adds: for each target whether it is met."""
    return [
        {"row": row.id, "target": target.shown(row.unit), "of": target.of or "design", "met": target.is_met(row)}
        for document in documents
        for row in document.rows
        for target in targets_of(row)
    ]


def draw(folder: Path, documents: Sequence[Document]) -> None:
    """The pictures that these documents have something for."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in (("latency.svg", latency(documents)), ("growth.svg", growth(documents))):
        if picture:
            (folder / name).write_text(picture)
            print(f"drawn: {folder / name}", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description="The numbers of this machine beside their floors and targets, in one table.")
    parser.add_argument("names", nargs="*", metavar="QUESTION", help=f"some of {', '.join(BENCHES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="some seconds each, for a first look")
    parser.add_argument("--smoke", action="store_true", help="as little as possible: do they run?")
    parser.add_argument("--json", action="store_true", help="one document with all figures and verdicts instead of the table")
    parser.add_argument("--plot", type=Path, metavar="DIR", help="write latency.svg and growth.svg there")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHES):
        parser.error(f"no benchmark is named {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    documents = []
    failed = False
    for name in BENCHES:
        if name in options.names or not options.names:
            print(f"bench_{name}.py ...", file=sys.stderr, flush=True)
            document = run(name, *["--quick"] * options.quick, *["--smoke"] * options.smoke)
            if isinstance(document, Document):
                documents.append(document)
            else:
                failed = failed or document != SKIPPED
    if options.plot:
        draw(options.plot, documents)
    if options.json:
        result = {"documents": documents, "verdicts": verdicts(documents)}
        print(msgspec.json.format(msgspec.json.encode(result)).decode())
    elif documents:
        print(header(documents[0]))
        print(table(documents))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
