"""Restart types, windows and waits, without a supervisor around them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from actorsys.process.exits import Reason
from actorsys.spec import RestartSpec
from actorsys.supervision.restart import (
    Again,
    Backoff,
    Death,
    Fail,
    Window,
    decide,
    delay_ns,
    fraction,
    is_normal,
    wanted,
    wants_restart,
)
from actorsys.units import SECOND_NS as S
from actorsys.units import Seconds

MS = 1_000_000


@pytest.mark.parametrize(
    ("reason", "normal"),
    [
        ("normal", True), ("shutdown", True), ("crashed", False), ("killed", False), ("out_of_memory", False),
        ("unresponsive", False), ("start_failed", False), ("start_timeout", False),
    ],
)  # fmt: skip
def test_which_exits_are_normal(reason: Reason, normal: bool) -> None:
    assert is_normal(RestartSpec(), reason) is normal


@pytest.mark.parametrize(("code", "normal"), [(0, True), (42, True), (43, False), (1, False)])
def test_exit_ok_says_which_codes_are_normal(code: int, normal: bool) -> None:
    """A04"""
    assert is_normal(RestartSpec(exit_ok=(0, 42)), "exit_code", code) is normal


@pytest.mark.parametrize(
    ("type", "after_normal", "after_abnormal"),
    [("permanent", True, True), ("transient", False, True), ("temporary", False, False)],
)
def test_restart_types(type: str, after_normal: bool, after_abnormal: bool) -> None:
    """A03"""
    rule = RestartSpec(type=type)  # type: ignore[arg-type]
    assert wants_restart(rule, normal=True) is after_normal
    assert wants_restart(rule, normal=False) is after_abnormal


def test_an_exit_before_ready_is_a_failed_start_even_with_code_0() -> None:
    """A19: our grace period is the time until the child says it is ready."""
    rule = RestartSpec(type="transient")
    early = Death(at=0, reason="exit_code", exit_code=0)
    assert wanted(rule, early) is None
    assert wanted(rule, Death(at=0, reason="exit_code", exit_code=0, up_since=0)) is not None


class TestWindow:
    def test_a_stamp_one_period_old_still_counts(self) -> None:
        """A06"""
        window = Window()
        for at in (0, 1, 2):
            window.charge(at * S, 10 * S)
        assert window.count(10 * S, 10 * S) == 3
        assert window.count(10 * S + 1, 10 * S) == 2

    def test_deaths_on_one_message_count_once(self) -> None:
        """G3"""
        window = Window()
        assert [window.charge(at, S, "m1") for at in range(3)] == [1, 1, 1]
        assert window.charge(4, S, "m2") == 2
        assert window.charge(5, S) == 3

    def test_a_message_is_forgotten_with_the_period(self) -> None:
        window = Window()
        window.charge(0, S, "m1")
        assert window.has("m1", S, S)
        assert not window.has("m1", S + 1, S)

    @given(st.lists(st.integers(0, 30), max_size=30).map(sorted), st.integers(0, 10))
    def test_it_counts_like_a_list(self, stamps: list[int], period: int) -> None:
        window = Window()
        for index, at in enumerate(stamps):
            assert window.charge(at, period) == sum(at - period <= other for other in stamps[: index + 1])


def waits(rule: RestartSpec, lives: list[tuple[float, float]], *, jitter: float = 0.0) -> list[int]:
    """The waits in ms after lives of (seconds to ready, seconds up); each starts when the wait before it is over."""
    backoff, now, found = Backoff(), 0, []
    for to_ready, up in lives:
        ready = now + round(to_ready * S)
        now = ready + round(up * S)
        delay = backoff.next_delay(rule, Death(at=now, reason="crashed", up_since=ready), jitter)
        found.append(delay // MS)
        now += delay
    return found


def rule(**options: object) -> RestartSpec:
    base = RestartSpec(backoff=Seconds(0.03), backoff_max=Seconds(0.3), jitter=0.0)
    return replace(base, **options)


class TestBackoff:
    def test_the_first_restart_is_at_once_then_each_wait_doubles_up_to_the_limit(self) -> None:
        """A14; G8 puts a restart at once in front of the series."""
        assert waits(rule(), [(0, 0.01)] * 8) == [0, 30, 60, 120, 240, 300, 300, 300]

    def test_quiet_makes_the_next_death_the_first_again(self) -> None:
        """A14"""
        assert waits(rule(), [(0, 0.01)] * 4 + [(0, 60), (0, 0.01)]) == [0, 30, 60, 120, 0, 30]

    def test_a_little_less_quiet_does_not_bring_it_back_to_zero(self) -> None:
        assert waits(rule(), [(0, 0.01)] * 4 + [(0, 59.9), (0, 0.01)]) == [0, 30, 60, 120, 0, 240]

    def test_the_first_death_in_a_window_is_restarted_at_once(self) -> None:
        assert waits(rule(), [(0, 31)] * 5) == [0] * 5

    def test_a_wait_is_no_quiet(self) -> None:
        slow = rule(backoff=Seconds(40), backoff_max=Seconds(40))
        assert waits(slow, [(0, 0.01)] * 4) == [0, 40_000, 40_000, 40_000]

    def test_a_slow_start_that_fails_is_no_quiet(self) -> None:
        backoff = Backoff()
        found = [backoff.next_delay(rule(), Death(at=at * 100 * S, reason="start_timeout"), 0.0) // MS for at in range(1, 5)]
        assert found == [0, 30, 60, 120]

    def test_no_process_at_all_always_waits(self) -> None:
        """A18"""
        backoff = Backoff()
        death = Death(at=S, reason="start_failed", was_launched=False)
        assert [backoff.next_delay(rule(), death, 0.0) // MS for _ in range(3)] == [30, 60, 120]

    @given(st.integers(0, 100), st.floats(0, 1, exclude_max=True), st.floats(0, 2))
    def test_each_wait_is_in_its_bounds(self, level: int, part: float, jitter: float) -> None:
        """A14"""
        base = delay_ns(rule(), level, 0.0)
        assert base <= delay_ns(rule(jitter=jitter), level, part) <= base * (1 + jitter)
        assert base <= 300 * MS

    def test_jitters_differ(self) -> None:
        """A16"""
        sample = [fraction(1, "agent", nth) for nth in range(1000)]
        assert len(set(sample)) > 990
        assert 0 <= min(sample) < 0.05
        assert 0.95 < max(sample) < 1
        assert fraction(1, "agent", 7) == fraction(1, "agent", 7) != fraction(1, "other", 7) != fraction(2, "other", 7)

    def test_a_mass_death_is_spread(self) -> None:
        delays = {delay_ns(RestartSpec(), 3, fraction(0, f"agent{n}", 4)) for n in range(100)}
        assert max(delays) - min(delays) > 100 * MS


class TestDecide:
    def test_the_limit_counts_deaths_in_the_window(self) -> None:
        window, backoff = Window(), Backoff()
        found = [
            decide(RestartSpec(max_restarts=2), window, backoff, Death(at=at, reason="crashed", up_since=0), 0.0)
            for at in range(3)
        ]
        assert [type(verdict) for verdict in found] == [Again, Again, Fail]
        assert found[2].decision == "failed: 3 deaths in 30s, limit 2"

    def test_a_pardoned_death_leaves_no_trace(self) -> None:
        window, backoff = Window(), Backoff()
        death = Death(at=0, reason="killed", up_since=0, is_pardoned=True)
        assert decide(RestartSpec(max_restarts=0), window, backoff, death, 0.0) == Again("restart at once: killed by command")
        assert window.count(0, S) == 0
        assert backoff.due is None

    def test_a_death_on_a_known_message_is_restarted_at_once_and_moves_nothing(self) -> None:
        window, backoff = Window(), Backoff()
        first, second, third = (
            decide(rule(max_restarts=1), window, backoff, Death(at=at, reason="killed", up_since=0, poison="m1"), 0.0)
            for at in range(3)
        )
        assert first == Again("restart at once: first death in 30s")
        assert second == third == Again("restart at once: died on the same message again, which counts once")
        assert backoff.level == 0
