"""All benchmarks, one after another, and one table: question, figure, floor, ratio, target, met or not.

    python benchmarks/run.py [NAME ...] [--quick] [--json]

A figure that misses its target is a row, not an error: the exit code is 1 only when a benchmark failed.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from measure import Document, Row
from targets import TARGETS, number

HERE = Path(__file__).parent
BENCHES = ("roundtrip", "throughput", "spawn", "restart", "custody", "state", "nats")
TIMEOUT = 120.0  # seconds for one; a slow machine is no reason to give up
UNITS = {
    "loop": "us",
    "relay": "us",
    "codec": "/s",
    "frames": "/s",
    "fork": "/s",
    "sync": "/s",
    "nats-py": "us",
    "nats-py pub": "/s",
}
COLUMNS = ("", "figure", "floor", "ratio", "target", "met")


def run(name: str, *, quick: bool) -> Document | None:
    """The document of one benchmark; None when it failed, which it said on stderr."""
    arguments = [sys.executable, str(HERE / f"bench_{name}.py"), *(["--quick"] if quick else [])]
    try:
        done = subprocess.run(arguments, check=False, stdout=subprocess.PIPE, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        print(f"bench_{name}.py did not end within {TIMEOUT:g} s", file=sys.stderr)
        return None
    if done.returncode:
        print(f"bench_{name}.py exited with {done.returncode}", file=sys.stderr)
        return None
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
    floor = f"{row.floor} {number(row.floor_figure, UNITS[row.floor])}" if row.floor_figure is not None else ""
    ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
    targets = [(target.shown(row.unit), "yes" if target.is_met(row) else "no") for target in TARGETS[row.id]] or [("", "")]
    first = (f"  {row.what}", number(row.figure, row.unit), floor, ratio, *targets[0])
    return [first, *(("", "", "", "", *more) for more in targets[1:])]


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    what, figure, floor, ratio, target, met = line
    cells = (
        what.ljust(widths[0]),
        figure.rjust(widths[1]),
        floor.rjust(widths[2]),
        ratio.rjust(widths[3]),
        target.ljust(widths[4]),
        met.ljust(widths[5]),
    )
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
        for target in TARGETS[row.id]
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="The numbers of this machine beside their floors and targets, in one table.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(BENCHES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="under 5 s each, for a first look")
    parser.add_argument("--json", action="store_true", help="the documents and verdicts instead of the table")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHES):
        parser.error(f"no benchmark is named {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    documents = []
    failed = False
    for name in BENCHES:
        if name in options.names or not options.names:
            print(f"bench_{name}.py ...", file=sys.stderr, flush=True)
            document = run(name, quick=options.quick)
            failed = failed or document is None
            if document is not None:
                documents.append(document)
    if options.json:
        result = {"documents": documents, "verdicts": verdicts(documents)}
        print(msgspec.json.format(msgspec.json.encode(result)).decode())
    elif documents:
        print(header(documents[0]))
        print(table(documents))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
