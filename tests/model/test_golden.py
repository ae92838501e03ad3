"""Restart type x exit x strategy, each cell written down in golden.txt."""

from pathlib import Path

import pytest

from actorsys.spec import RestartSpec
from actorsys.supervision.core import Child, RestartChild
from tests.supervision.rig import Rig

TABLE = [
    tuple(line.split()) for line in (Path(__file__).parent / "golden.txt").read_text().splitlines() if not line.startswith("#")
]
EXITS = {
    "ended": {"reason": "normal", "ended": True},
    "code_0": {"reason": "exit_code", "exit_code": 0},
    "code_42": {"reason": "exit_code", "exit_code": 42},
    "code_3": {"reason": "exit_code", "exit_code": 3},
    "early_normal": {"reason": "normal"},
    "declined": {"reason": "normal", "ended": True},
}
BEFORE_READY = ("start_failed", "start_timeout", "early_normal", "declined")


def test_the_table_is_complete() -> None:
    assert len(TABLE) == len({row[:3] for row in TABLE}) == 3 * 3 * 14


@pytest.mark.parametrize("row", TABLE, ids="-".join)
def test_an_exit_means_for_each_child_what_the_table_says(row: tuple[str, ...]) -> None:
    """A03, A04, A09, A11, A13, C09."""
    strategy, restart_type, exit_name, second, first, third, last = row
    rig = Rig.with_all_up(
        Child(name="first"),
        Child(name="second", restart=RestartSpec(type=restart_type, exit_ok=(0, 42))),  # type: ignore[arg-type]
        Child(name="third", restart=RestartSpec(type="transient")),
        Child(name="last", restart=RestartSpec(type="temporary")),
        strategy=strategy,
    )
    if exit_name in BEFORE_READY:
        rig.do(RestartChild("second"))
        rig.dies("second", "shutdown")
    was = rig.incarnations()
    rig.dies("second", **EXITS.get(exit_name, {"reason": exit_name}))  # type: ignore[arg-type]
    rig.answer_shutdowns()
    rig.answer_launches()

    def became(name: str) -> str:
        if rig.state(name) != "running":
            assert rig.state(name) == "stopped"
            return "ends"
        return "again" if rig.incarnation(name) > was[name] else "stays"

    assert (became("second"), became("first"), became("third"), became("last")) == (second, first, third, last)
