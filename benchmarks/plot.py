"""Two pictures of what was measured, as SVG: how latencies are spread, and how the cost of a node grows with its agents."""

import math
import re
from collections.abc import Iterator, Sequence
from html import escape

from measure import SHARES, Document, Row
from targets import number, targets_of

COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f")
LATENCIES = {
    "ask_direct_p50": "supervisor to agent",
    "ask_between_p50": "agent to agent",
    "ask_one_of_many_p50": "64 asks at once",
    "ask_beside_large_p50": "beside 1 MiB messages",
    "nats_request_p50": "over NATS",
    "durable_tell_p50": "tell, on disk",
}
PANELS = {
    "up_nats": "start, with NATS",
    "pss_nats": "memory per agent",
    "idle": "idle processor, of one core",
    "ask_beside_p50": "ask, the others idle, p50",
    "away_nats_p50": "SIGKILL to next answer, p50",
    "stop": "stop",
}
STYLE = "text{font:12px sans-serif;fill:#334155;paint-order:stroke;stroke:#fff;stroke-width:4px}.title{font-size:15px;font-weight:600;fill:#0f172a}.dim{fill:#94a3b8}"
GRID, TARGET = 'stroke="#e2e8f0"', 'stroke="#94a3b8" stroke-dasharray="4 4"'


def latency(documents: Sequence[Document]) -> str:
    """Microseconds by percentile, both axes logarithmic; empty when none of LATENCIES was measured."""
    rows = [row for document in documents for row in document.rows if row.id in LATENCIES and row.spread]
    if not rows:
        return ""
    left, right, top, bottom = 70.0, 690.0, 60.0, 400.0
    low = math.log10(min(min(row.spread or ()) for row in rows)) - 0.1
    high = math.log10(max(max(row.spread or ()) for row in rows)) + 0.1

    def x(share: float) -> float:
        return left - math.log10(1 - share) / 3 * (right - left)

    def y(value: float) -> float:
        return bottom - (math.log10(value) - low) / (high - low) * (bottom - top)

    parts = [text(left, 30, "How long does it take? Microseconds by percentile", kind="title")]
    for value in (10**decade for decade in range(math.ceil(low), math.floor(high) + 1)):
        parts += [line(left, y(value), right, y(value), GRID), text(left - 8, y(value) + 4, f"{value:,}", "end")]
    for share, name in ((0.0, "best"), (0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9")):
        parts += [line(x(share), top, x(share), bottom, GRID), text(x(share), bottom + 20, name, "middle")]
    lowest = bottom + 16.0  # labels are written from the fastest up, each above the one before
    for colour, row in zip(COLOURS, sorted(rows, key=lambda row: (row.spread or [])[-1]), strict=False):
        points = [(x(share), y(value)) for share, value in zip(SHARES, row.spread or (), strict=True)]
        lowest = min(points[-1][1], lowest - 16)
        parts += [path(points, colour), text(right + 8, lowest + 4, f"{LATENCIES[row.id]}, {row.samples:,} x", colour=colour)]
    return svg(900, 440, parts)


def growth(documents: Sequence[Document]) -> str:
    """A panel for each of PANELS over the number of agents; empty when growth was not measured."""
    rows = {row.id: row for document in documents for row in document.rows if document.bench == "growth"}
    panels = [(title, found) for id, title in PANELS.items() if len(found := dict(by_agents(id, rows))) > 1]
    if not panels:
        return ""
    parts = [text(24, 30, "What does a node of 10 to 1,000 agents cost?", kind="title")]
    for place, (title, found) in enumerate(panels):
        parts += panel(title, found, 60 + place % 3 * 300, 90 + place // 3 * 210, 220, 100)
    return svg(940, 30 + math.ceil(len(panels) / 3) * 210, parts)


def by_agents(id: str, rows: dict[str, Row]) -> Iterator[tuple[int, Row]]:
    """The rows of one panel: `ask_beside_p50` is `ask_beside_10_p50`, `ask_beside_100_p50` and so on."""
    name, p50 = id.removesuffix("_p50"), "_p50" if id.endswith("_p50") else ""
    for row in rows.values():
        if found := re.fullmatch(rf"{name}_(\d+){p50}", row.id):
            yield int(found[1]), row


def panel(title: str, found: dict[int, Row], left: float, top: float, width: float, height: float) -> Iterator[str]:
    first, last = min(found), max(found)
    marks = [target.value for target in targets_of(found[last]) if not target.floor]
    highest = 1.25 * max(*(row.figure for row in found.values()), *marks)

    def x(agents: int) -> float:
        return left + math.log(agents / first) / math.log(last / first) * width

    def y(value: float) -> float:
        return top + height - value / highest * height

    yield text(left, top - 16, title, kind="title")
    yield line(left, top + height, left + width, top + height, GRID)
    for mark in marks:
        yield line(left, y(mark), left + width, y(mark), TARGET)
    yield path([(x(agents), y(row.figure)) for agents, row in found.items()], COLOURS[0])
    for agents, row in found.items():
        yield f'<circle cx="{x(agents):.1f}" cy="{y(row.figure):.1f}" r="4" fill="{COLOURS[0]}"/>'
        yield text(x(agents), y(row.figure) - 10, number(row.figure, row.unit), "middle")
        yield text(x(agents), top + height + 18, f"{agents:,}", "middle", kind="dim")
    for mark in marks:  # over the line that they may cross
        yield text(left + width / 4, y(mark) + 4, f"target {number(mark, found[last].unit)}", "middle", kind="dim")


def text(x: float, y: float, words: str, anchor: str = "start", *, kind: str = "", colour: str = "") -> str:
    more = f' class="{kind}"' * bool(kind) + f' style="fill:{colour}"' * bool(colour)
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'


def path(points: Sequence[tuple[float, float]], colour: str) -> str:
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2.5" stroke-linejoin="round"/>'


def svg(width: int, height: int, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    return "\n".join([head, f"<style>{STYLE}</style>", '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>\n"])
