import pytest

from actorsys.llm.breaker import Breaker


@pytest.fixture
def breaker():
    return Breaker(threshold=3, wait_ns=100, longest_ns=300)


def fail(breaker, times, now=0):
    for _ in range(times):
        assert breaker.allows(now)
        breaker.failed(now)


def test_failures_in_a_row_open_it(breaker):
    fail(breaker, 3)
    assert breaker.state == "open"
    assert not breaker.allows(99)
    assert (breaker.opened, breaker.refused) == (1, 1)


def test_a_success_in_between_starts_the_count_again(breaker):
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    assert breaker.state == "closed"


def test_one_probe_goes_when_the_wait_is_over(breaker):
    fail(breaker, 3)
    assert breaker.left_ns(40) == 60
    assert breaker.allows(100)
    assert not breaker.allows(100)
    assert breaker.state == "half_open"
    assert breaker.left_ns(100) == 0


def test_a_probe_that_succeeds_closes_it_and_forgets_the_longer_wait(breaker):
    fail(breaker, 3)
    fail(breaker, 1, now=100)
    assert breaker.allows(300)
    breaker.succeeded()
    fail(breaker, 3, now=300)
    assert breaker.left_ns(300) == 100


def test_a_probe_that_fails_opens_it_for_twice_as_long_up_to_a_bound(breaker):
    fail(breaker, 3)
    fail(breaker, 1, now=100)
    assert breaker.left_ns(100) == 200
    fail(breaker, 1, now=300)
    assert breaker.left_ns(300) == 300
    fail(breaker, 1, now=600)
    assert breaker.left_ns(600) == 300


def test_an_abandoned_probe_is_given_to_the_next(breaker):
    fail(breaker, 3)
    assert breaker.allows(100)
    breaker.abandoned()
    assert breaker.allows(100)


def test_a_late_failure_does_not_prolong_an_open_one(breaker):
    fail(breaker, 3)
    breaker.failed(50)
    assert breaker.left_ns(50) == 50
