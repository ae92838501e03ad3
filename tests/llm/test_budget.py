"""What is charged is what was settled, what is in flight, and what nobody can say; never more is begun than may be spent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actorsys.llm.budget import Budget, Cost

LIMIT, WINDOW = 1_000, 100


class Machine(RuleBasedStateMachine):
    """The budget beside a list of all charges."""

    def __init__(self):
        super().__init__()
        self.budget = Budget(LIMIT, 0, WINDOW)
        self.now, self.number = 0, 0
        self.open, self.done, self.ends = {}, 0, None

    def turn(self):
        if self.ends is not None and self.now >= self.ends:
            self.done, self.ends = 0, None

    def begin(self):
        self.turn()
        if self.ends is None:
            self.ends = self.now + WINDOW

    @rule(by=st.integers(0, 60))
    def time_passes(self, by):
        self.now += by

    @rule(tokens=st.integers(1, 700))
    def a_call_begins(self, tokens):
        self.turn()
        says = self.budget.fits(Cost(tokens), self.now)
        charged = self.done + sum(self.open.values())
        assert (says == "yes") == (charged + tokens <= LIMIT)
        assert (says == "no") == (self.done + tokens > LIMIT)
        if says == "yes":
            self.begin()
            self.number += 1
            self.open[self.number] = tokens
            self.budget.reserve(self.number, Cost(tokens), self.now)

    @rule(share=st.one_of(st.none(), st.floats(0, 1)))
    def a_call_ends(self, share):
        if self.open:
            key = next(iter(self.open))
            tokens = self.open.pop(key)
            spent = tokens if share is None else int(tokens * share)
            self.begin()
            self.done += spent
            self.budget.settle(key, None if share is None else Cost(spent), self.now)

    @rule()
    def a_call_that_never_began_ends(self):
        self.budget.settle("nobody", Cost(500), self.now)

    @invariant()
    def the_sums_agree(self):
        self.turn()
        assert self.budget.resets_ns(self.now) == (0 if self.ends is None else self.ends - self.now)
        assert self.budget.charged.tokens == self.done + sum(self.open.values()) <= LIMIT


TestMachine = Machine.TestCase


def test_a_call_in_flight_holds_others_back_only_until_it_is_settled():
    budget = Budget(100, 0, WINDOW)
    budget.reserve("a", Cost(80), 0)
    assert budget.fits(Cost(30), 1) == "later"
    budget.settle("a", Cost(10), 2)
    assert budget.fits(Cost(30), 3) == "yes"


def test_what_an_agent_that_died_had_in_flight_stays_charged():
    budget = Budget(100, 0, WINDOW)
    budget.reserve("a", Cost(80), 0)
    budget.settle("a", None, 2)
    assert budget.fits(Cost(30), 3) == "no"
    assert budget.resets_ns(3) == WINDOW - 3
    assert budget.fits(Cost(30), WINDOW) == "yes"


def test_a_call_that_is_more_than_all_of_it_never_fits():
    assert Budget(100, 0, WINDOW).fits(Cost(101), 0) == "never"


def test_dollars_are_limited_like_tokens():
    budget = Budget(0, 1.0, WINDOW)
    budget.reserve("a", Cost(10**9, 0.75), 0)
    budget.settle("a", None, 0)
    assert budget.fits(Cost(1, 0.5), 1) == "no"
    assert budget.fits(Cost(10**9, 0.25), 1) == "yes"


def test_a_restored_window_ends_when_it_would_have():
    budget = Budget(100, 0, WINDOW)
    budget.restore(Cost(90), until_ns=40)
    assert budget.fits(Cost(20), 39) == "no"
    assert budget.fits(Cost(20), 40) == "yes"


@given(st.integers(0, 10**9), st.floats(0, 1e6))
def test_without_a_limit_everything_fits(tokens, usd):
    assert Budget(0, 0, WINDOW).fits(Cost(tokens, usd), 0) == "yes"


@pytest.mark.parametrize(("tokens", "says"), [(50, "no"), (200, "yes")])
def test_another_limit_counts_at_once(tokens, says):
    budget = Budget(100, 0, WINDOW)
    budget.reserve("a", Cost(60), 0)
    budget.settle("a", None, 0)
    budget.limit(tokens, 0, WINDOW)
    assert budget.fits(Cost(40), 1) == says
