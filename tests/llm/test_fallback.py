"""What is tried again, what goes to the next provider, what is raised; and that each call is leased and settled once."""

import asyncio
import time

import pytest

from actorsys import BadCompletion, BadModelCall, BudgetExceeded, ModelAuthError, ModelUnavailable
from actorsys.llm import fallback
from actorsys.llm.base import Usage
from actorsys.llm.fallback import TRIES, Chain, Lease
from actorsys.llm.mock import Rule
from actorsys.llm.settings import Profile
from actorsys.testing.waiting import eventually


def ask(llm, text="x", **more):
    return asyncio.run(llm.complete(text, **more))


@pytest.mark.parametrize("error", [429, 500, 503, 529])
def test_what_passes_is_tried_again(llm_of, gate, error):
    llm = llm_of([Rule(times=2, error=error), Rule(text="there")])
    assert ask(llm).text == "there"
    assert gate.settled == [(1, Usage(), False), (2, Usage(), False), (3, Usage(1, 1), True)]


def test_a_provider_is_left_for_the_next_when_its_tries_are_used_up(llm_of):
    llm = llm_of([Rule(error=503)], [Rule(text="from b")])
    answer = ask(llm, model="asked")
    assert answer.text == "from b"
    assert [len(mock.calls) for mock in llm.mocks] == [TRIES, 1]
    assert [mock.calls[0].model for mock in llm.mocks] == ["asked", "model-b"]


def test_an_answer_that_counts_no_tokens_stays_charged_as_announced(llm_of, gate):
    ask(llm_of([Rule(text="there", usage=Usage())]))
    assert gate.settled == [(1, None, True)]


def test_without_a_lease_a_call_that_counts_no_tokens_is_a_call_all_the_same(llm_of, gate, monkeypatch):
    async def free(profile, tokens):
        return Lease(0, profile)

    monkeypatch.setattr(gate, "lease", free)
    ask(llm_of([Rule(text="there", usage=Usage())]))
    assert gate.settled == [(0, Usage(), True)]


@pytest.mark.parametrize("status", [400, 401, 402, 404, 413])
def test_a_provider_that_refuses_is_asked_once_and_then_the_next(llm_of, status):
    llm = llm_of([Rule(error=status)], [Rule(text="from b")])
    assert ask(llm).text == "from b"
    assert len(llm.mocks[0].calls) == 1


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (401, 401, ModelAuthError),
        (400, 401, BadModelCall),
        (401, 503, ModelUnavailable),
        (503, 401, ModelUnavailable),
        (429, 400, ModelUnavailable),
    ],
)
def test_of_several_failures_one_that_passes_is_raised_else_the_first(llm_of, first, second, kind):
    with pytest.raises(kind) as caught:
        ask(llm_of([Rule(error=first)], [Rule(error=second)]))
    assert type(caught.value) is kind


def test_a_wait_that_the_provider_asks_for_is_kept(llm_of):
    llm = llm_of([Rule(times=1, error=429, retry_after=0.1), Rule(text="there")])
    began = time.monotonic()
    assert ask(llm).text == "there"
    assert time.monotonic() - began >= 0.1


def test_a_wait_that_is_longer_than_the_time_left_is_not_begun(llm_of):
    llm = llm_of([Rule(error=429, retry_after=60.0)])
    began = time.monotonic()
    with pytest.raises(ModelUnavailable) as caught:
        ask(llm, timeout=5.0)
    assert time.monotonic() - began < 4
    assert caught.value.retry_after == 60.0
    assert len(llm.mocks[0].calls) == 1


def test_a_try_gets_no_more_time_than_is_left_of_the_message(llm_of, gate):
    llm = llm_of([Rule(error="timeout")], deadline=lambda: 0.05, timeout=60.0)
    with pytest.raises(ModelUnavailable):
        ask(llm)
    assert 0 < llm.mocks[0].calls[0].timeout <= 0.05
    assert gate.settled[0] == (1, None, False)  # nobody knows what it took


def test_a_call_whose_deadline_has_passed_is_not_made(llm_of, gate):
    llm = llm_of([], deadline=lambda: 0.0)
    with pytest.raises(ModelUnavailable, match=r"no time is left|before its deadline"):
        ask(llm)
    assert llm.mocks[0].calls == []
    assert all(usage == Usage() and not ok for _, usage, ok in gate.settled)


def test_a_model_that_fails_all_the_time_is_left_alone_for_a_while(llm_of, gate):
    llm = llm_of([Rule(error=500)], [Rule(text="from b")])
    texts = [ask(llm).text for _ in range(4)]
    assert texts == ["from b"] * 4
    assert len(llm.mocks[0].calls) == 5  # the breaker's threshold
    assert len(llm.mocks[1].calls) == 4


def test_an_open_breaker_says_when_it_is_tried_again(llm_of):
    llm = llm_of([Rule(error=500)])
    for _ in range(2):
        with pytest.raises(ModelUnavailable) as caught:
            ask(llm)
    assert type(caught.value) is ModelUnavailable
    assert 0 < caught.value.retry_after <= 1.0
    assert "times in a row" in str(caught.value)


def test_rate_limits_open_no_breaker(llm_of):
    llm = llm_of([Rule(times=12, error=429), Rule(text="there")])
    for _ in range(3):
        with pytest.raises(ModelUnavailable):
            ask(llm)
    assert ask(llm).text == "there"


def test_a_spent_budget_is_raised_and_no_call_made(llm_of, gate):
    gate.error = BudgetExceeded("spent", budget="llm.a", resets_in=1.0)
    llm = llm_of([], [])
    with pytest.raises(BudgetExceeded):
        ask(llm)
    assert [mock.calls for mock in llm.mocks] == [[], []]


def test_a_provider_is_made_ready_before_the_lease_and_one_that_cannot_be_takes_none(llm_of, gate):
    llm = llm_of([Rule(text="there")])
    leased = []
    llm.mocks[0].ready = lambda call: leased.append((call.model, len(gate.leased)))
    ask(llm)
    assert leased == [("model-a", 0)]

    def fail(call):
        raise BadModelCall("no address")

    llm.mocks[0].ready = fail
    with pytest.raises(BadModelCall, match="no address"):
        ask(llm)
    assert len(gate.leased) == 1


def test_a_cancelled_call_is_settled_as_unknown(llm_of, gate):
    llm = llm_of([Rule(delay=30.0)])

    async def run():
        task = asyncio.ensure_future(llm.complete("x"))
        await eventually(lambda: llm.mocks[0].calls)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    assert gate.settled == [(1, None, False)]


def test_an_answer_that_was_held_back_is_an_error(llm_of, monkeypatch):
    from msgspec.structs import replace

    llm = llm_of([Rule(text="half")])
    complete = llm.mocks[0].complete

    async def filtered(call):
        return replace(await complete(call), stop="filter")

    monkeypatch.setattr(llm.mocks[0], "complete", filtered)
    with pytest.raises(BadCompletion, match="held back") as caught:
        ask(llm)
    assert caught.value.text == "half"


def test_the_chain_follows_the_fallbacks_of_fallbacks_each_once():
    profiles = {"a": Profile(fallback=("b",)), "b": Profile(fallback=("c", "a")), "c": Profile(), "d": Profile()}
    assert [way.name for way in Chain(profiles, "a", fallback.Open()).ways] == ["a", "b", "c"]
