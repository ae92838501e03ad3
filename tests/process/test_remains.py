"""What a dead agent left is seen, also where the processes end while they are being looked at."""

from collections.abc import Container

from actorsys.process.procfs import Procfs, Stat
from actorsys.process.remains import Kin, Remains

KEEPER, DAEMON = 10, 20


class Told(Procfs):
    """What /proc says, from a table: the children of the keeper, and the state of each."""

    def __init__(self, states: dict[int, str]) -> None:
        self.states = states

    def trees(self, parent: int, known: Container[int]) -> dict[int, list[int]]:
        return {pid: [pid] for pid in self.states}

    def stat(self, pid: int) -> Stat:
        return Stat(self.states[pid], KEEPER, pid)

    def mark(self, pid: int) -> None:
        return None  # of one that has ended nothing can be read


def test_one_that_ends_while_it_is_looked_at_is_looked_for_again_with_what_it_left() -> None:
    procfs = Told({DAEMON: "Z"})
    remains = Remains(procfs, KEEPER)
    dead = Kin("agent", "run/one/1", 15)
    assert remains.clear([dead], {}, ()) == {"run/one/1"}
    procfs.states.clear()  # it was reaped, and had left nothing
    assert remains.clear([dead], {}, ()) == set()


def test_one_that_a_living_agent_started_keeps_no_dead_one_waiting() -> None:
    remains = Remains(Told({DAEMON: "Z"}), KEEPER)
    assert remains.clear([Kin("agent", "run/one/1", 15)], {DAEMON: Kin("agent", "run/other/1", DAEMON)}, ()) == set()
