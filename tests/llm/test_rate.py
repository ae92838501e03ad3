"""However slow the agents are, the provider sees no more than it allows, and everybody gets a turn."""

from hypothesis import given
from hypothesis import strategies as st

from actorsys.llm.rate import EXPIRY_NS, Pacer

MS = 1_000_000


def drain(pacer, now=0):
    """All tickets with the times at which they were given."""
    given = []
    while (wake := pacer.wake_ns()) is not None:
        now = max(now, wake)
        given.append((now, *pacer.take(now)))
    return given


@given(
    requests=st.integers(1, 40),
    per_ns=st.integers(1, 3_000 * MS),
    idle=st.lists(st.integers(0, 400 * MS), min_size=2, max_size=120),
    delays=st.data(),
)
def test_no_window_ever_sees_more_arrivals_than_allowed_whatever_the_delays(requests, per_ns, idle, delays):
    pacer, now, arrivals = Pacer(requests, per_ns), 0, []
    for number, wait in enumerate(idle):
        pacer.join("a", number)
        now = max(now + wait, pacer.wake_ns())
        assert pacer.take(now) == ("a", number)
        arrivals.append(now + delays.draw(st.sampled_from([0, EXPIRY_NS // 2, EXPIRY_NS])))
    arrivals.sort()
    for first in range(len(arrivals) - requests):
        assert arrivals[first + requests] - arrivals[first] >= per_ns


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=60))
def test_everybody_in_the_line_is_served_before_anybody_is_served_twice(joins):
    pacer = Pacer(10, 1_000 * MS)
    for ticket, agent in enumerate(joins):
        pacer.join(agent, ticket)
    served = [agent for _, agent, _ in drain(pacer)]
    left = {agent: joins.count(agent) for agent in joins}
    while any(left.values()):
        turn = [served.pop(0) for _ in range(sum(1 for count in left.values() if count))]
        assert len(set(turn)) == len(turn)
        for agent in turn:
            left[agent] -= 1


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40))
def test_the_tickets_of_one_agent_go_in_order(joins):
    pacer = Pacer(0, 1)
    for ticket, agent in enumerate(joins):
        pacer.join(agent, ticket)
    served = [(agent, ticket) for _, agent, ticket in drain(pacer)]
    assert sorted(served, key=lambda pair: pair[1]) == [(agent, ticket) for ticket, agent in enumerate(joins)]
    for agent in set(joins):
        mine = [ticket for who, ticket in served if who == agent]
        assert mine == sorted(mine)


def test_without_a_rate_everybody_goes_at_once():
    pacer = Pacer(0, 1_000 * MS)
    for ticket in range(100):
        pacer.join(f"a{ticket}", ticket)
    assert [at for at, _, _ in drain(pacer)] == [0] * 100


def test_who_leaves_the_line_takes_no_slot():
    pacer = Pacer(1, 1_000)
    pacer.join("a", 1)
    pacer.join("b", 2)
    pacer.leave("a", 1)
    pacer.leave("a", 1)
    pacer.leave("c", 9)
    assert len(pacer) == 1
    assert pacer.take(0) == ("b", 2)
    assert pacer.wake_ns() is None


def test_another_rate_counts_from_the_next_slot_on():
    pacer = Pacer(1, 1_000, expiry_ns=0)
    for ticket in range(3):
        pacer.join("a", ticket)
    pacer.take(0)
    pacer.limit(10, 1_000, expiry_ns=0)
    assert pacer.take(1_000) is None
    assert pacer.take(1_001) == ("a", 1)
    assert pacer.take(1_102) == ("a", 2)
