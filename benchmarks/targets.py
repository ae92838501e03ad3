"""What each figure should reach: section 9 of the design, the first targets of the project, and the peers.

Targets with a floor compare with that floor in the same run; the others are absolute. Marks of peers were taken on another machine
and are only a hint there.
"""

from typing import Literal

from measure import Row
from msgspec import Struct

Bound = Literal["<=", ">="]
AT_MOST: Bound = "<="
AT_LEAST: Bound = ">="


class Target(Struct, frozen=True):
    bound: Bound
    value: float
    floor: str = ""  # `value` times this floor
    of: str = ""  # whose mark it is; empty: the design's own

    def is_met(self, row: Row) -> bool:
        reached = row.ratio if self.floor else row.figure
        if reached is None:
            return False
        return reached <= self.value if self.bound == AT_MOST else reached >= self.value

    def shown(self, unit: str) -> str:
        mark = f"{self.value:g} x {self.floor}" if self.floor else number(self.value, unit)
        return f"{self.bound} {mark}" + (f" ({self.of})" if self.of else "")


TARGETS: dict[str, tuple[Target, ...]] = {
    "ask_direct_p50": (
        Target(AT_MOST, 2.5, "loop"),
        Target(AT_MOST, 150, of="first"),
        Target(AT_MOST, 84, of="peers x 5"),
        Target(AT_MOST, 96, of="mp.Pipe"),
        Target(AT_MOST, 56, of="Erlang"),
    ),
    "ask_between_p50": (Target(AT_MOST, 2.0, "relay"),),
    "ask_between_p99": (Target(AT_MOST, 1000),),
    "tell_between": (
        Target(AT_LEAST, 0.4, "codec"),
        Target(AT_LEAST, 100_000, of="first"),
        Target(AT_LEAST, 150_000, of="peers x 30"),
        Target(AT_LEAST, 186_000, of="Erlang"),
    ),
    "tell_direct": (Target(AT_LEAST, 100_000, of="first"), Target(AT_LEAST, 52_000, of="mp.Pipe")),
    "ask_outstanding": (Target(AT_LEAST, 0.1, "codec"), Target(AT_LEAST, 41_000, of="Erlang")),
    "large_1m": (Target(AT_LEAST, 400),),
    "spawn_seconds": (Target(AT_MOST, 1.5, of="first"),),
    "spawn_rate": (Target(AT_LEAST, 125), Target(AT_LEAST, 174, of="peers x 3")),
    "pss": (Target(AT_MOST, 3.0), Target(AT_MOST, 3.5, of="first")),
    "pss_nats": (Target(AT_MOST, 4.5),),
    **{
        f"{id}_{agents}_{share}": (Target(AT_MOST, most),)
        for id in ("away", "away_nats")
        for agents in (10, 100, 1000)
        for share, most in (("p50", 15), ("p99", 60))
    },
    "custody_tells": (Target(AT_LEAST, 0.6, "frames"),),
    "ask_beside_large_p99": (Target(AT_MOST, 5000),),
    "state_sqlite": (Target(AT_LEAST, 3000),),
    "state_grouped": (Target(AT_LEAST, 20_000),),
    "nats_request_p50": (Target(AT_MOST, 1.5, "nats-py"), Target(AT_MOST, 10_000)),
    "nats_ask_p50": (Target(AT_MOST, 10_000),),
    "nats_bus_p50": (Target(AT_MOST, 1.5, "nats-py"),),
    "nats_publish": (Target(AT_LEAST, 0.8, "nats-py pub"), Target(AT_LEAST, 1000)),
    "nats_publish_envelope": (Target(AT_LEAST, 0.8, "nats-py pub"), Target(AT_LEAST, 1000)),
    "up_1000": (Target(AT_MOST, 8),),
    "up_nats_1000": (Target(AT_MOST, 15),),
    **{f"pss_nats_{agents}": (Target(AT_MOST, 4.5),) for agents in (100, 1000)},
    "idle_1000": (Target(AT_MOST, 2.0),),
    "ask_beside_100_p50": (Target(AT_MOST, 1.3, "beside 10"),),
    "ask_beside_1000_p50": (Target(AT_MOST, 1.3, "beside 10"),),
    "stop_1000": (Target(AT_MOST, 5),),
    "llm_pss": (Target(AT_MOST, 12),),
    "llm_restart_p50": (Target(AT_MOST, 50),),
}


def targets_of(row: Row) -> tuple[Target, ...]:
    return TARGETS.get(row.id, ())


def number(value: float, unit: str) -> str:
    """
    >>> number(63.234, "us"), number(100055.1, "/s"), number(1.205, "s")
    ('63.2 us', '100,055/s', '1.21 s')
    """
    digits = 0 if value >= 1000 else 1 if value >= 10 else 2
    text = f"{value:,.{digits}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text + (unit if unit.startswith("/") else f" {unit}")
