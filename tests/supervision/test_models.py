"""The node's gate to models: leases, budgets, accounts, and what the death of an agent leaves of them."""

import asyncio
import json
import logging
from itertools import pairwise

import pytest

from actorsys import BadMessage
from actorsys.clock import now_ns
from actorsys.config.schema import agent_spec, llm_specs
from actorsys.llm.budget import Budget
from actorsys.llm.rate import EXPIRY_NS
from actorsys.supervision.models import Models
from actorsys.testing.waiting import eventually


class Node:
    """Models for agents a/0, a/1, b/0, which say what agents say."""

    def __init__(self, path, llm, **budgets):
        specs = {name: agent_spec(name, {"type": "m:C", "budget": budgets.get(name, {})}) for name in "ab"}
        self.members = {name: specs[name[0]] for name in ("a/0", "a/1", "b/0")}
        replicas = lambda agent: [member for member in self.members if member[0] == agent]  # noqa: E731
        self.models = Models(llm_specs(llm, {}), self.members.get, replicas, path / "llm.json")
        self.last = 0

    def lease(self, member="a/0", tokens=100, profile="default"):
        """A task that ends with the grant, and the number of its lease."""
        self.last += 1
        order = {"do": "lease", "number": self.last, "profile": profile, "tokens": tokens}
        return asyncio.ensure_future(self.models.obey(member, order)), self.last

    async def settle(self, number, usage, member="a/0", ok=True, profile="default"):
        await self.models.obey(member, {"do": "settle", "number": number, "profile": profile, "usage": usage, "ok": ok})

    async def spend(self, tokens, member="a/0"):
        """A call that takes as much as it announced."""
        grant, number = self.lease(member, tokens)
        await grant
        await self.settle(number, [tokens, 0, 0], member)


@pytest.fixture
def node(tmp_path):
    """Called with the [llm.default] table, and budgets of agents; runs the coroutine function that it is given."""

    def run(test, profile, **budgets):
        async def main():
            made = Node(tmp_path, {"default": profile}, **budgets)
            try:
                await test(made)
            finally:
                made.models.close()

        asyncio.run(asyncio.wait_for(main(), 10))

    return run


async def is_waiting(task):
    for _ in range(5):
        await asyncio.sleep(0)
    return not task.done()


def test_a_lease_says_until_when_the_call_must_be_sent(node):
    async def test(node):
        grant, _ = node.lease()
        until = (await grant)["until_ns"]
        assert 0 < until - now_ns() <= EXPIRY_NS

    node(test, {"rate": {"requests": 5}})


def test_leases_are_paced_and_agents_take_turns(node):
    async def test(node):
        order = []
        grants = []
        for member in ("a/0", "a/0", "a/0", "b/0"):
            grant, _ = node.lease(member)
            grant.add_done_callback(lambda _, member=member: order.append((member, now_ns())))
            grants.append(grant)
        await asyncio.gather(*grants)
        assert [member for member, _ in order] == ["a/0", "a/0", "b/0", "a/0"]  # the first went before the others came
        assert all(later - sooner > 9_000_000 for (_, sooner), (_, later) in pairwise(order))

    node(test, {"rate": {"requests": 50, "per": 0.25}})


def test_a_spent_budget_says_when_there_is_more(node):
    async def test(node):
        await node.spend(900)
        grant, _ = node.lease()
        message, budget, resets_in = (await grant)["exceeded"]
        assert budget == "llm.default"
        assert 3590 < resets_in <= 3600
        assert "the budget of llm.default, 950 tokens in 1h, is spent: there is more in 59m" in message

    node(test, {"budget": {"tokens": 950}})


def test_a_call_that_is_more_than_the_whole_budget_is_refused_even_when_others_wait(node):
    async def test(node):
        grant, _ = node.lease(tokens=1000)
        assert "one call may take more than all of it" in (await grant)["exceeded"][0]

    node(test, {"budget": {"tokens": 950, "on_exhausted": "pause"}})


def test_calls_pause_until_the_next_window(node):
    async def test(node):
        await node.spend(900)
        grant, _ = node.lease()
        assert await is_waiting(grant)
        assert "until_ns" in await asyncio.wait_for(grant, 5)

    node(test, {"budget": {"tokens": 950, "window": "200ms", "on_exhausted": "pause"}})


def test_what_calls_in_flight_may_take_is_waited_for_also_when_a_spent_budget_fails(node):
    async def test(node):
        first, number = node.lease(tokens=900)
        await first
        second, _ = node.lease(tokens=900)
        assert await is_waiting(second)
        await node.settle(number, [10, 10, 0])
        assert "until_ns" in await second

    node(test, {"budget": {"tokens": 950}})


def test_who_waits_for_calls_in_flight_when_the_window_is_over_does_not_poll(node, monkeypatch):
    async def test(node):
        grant, number = node.lease(tokens=900)
        await grant
        second, _ = node.lease(tokens=900)
        asked = []
        fits = Budget.fits
        monkeypatch.setattr(Budget, "fits", lambda self, cost, now: asked.append(fits(self, cost, now)) or asked[-1])
        await eventually(lambda: len(asked) >= 2)  # at once, and when the window had ended
        await asyncio.sleep(0.05)
        assert asked == ["later", "later"]
        assert len(node.models._room) == 1
        await node.settle(number, [10, 10, 0])
        assert "until_ns" in await second
        assert not node.models._room

    node(test, {"budget": {"tokens": 950, "window": "50ms", "on_exhausted": "pause"}})


def test_an_agent_has_a_budget_of_its_own_that_its_replicas_share(node):
    async def test(node):
        await node.spend(90, "a/0")
        grant, _ = node.lease("a/1", 20)
        assert (await grant)["exceeded"][1] == "agents.a"
        grant, _ = node.lease("b/0", 20)
        assert "until_ns" in await grant

    node(test, {}, a={"tokens": 100})


def test_dollars_are_counted_by_the_price(node):
    async def test(node):
        grant, number = node.lease(tokens=2000)
        await grant
        await node.settle(number, [1000, 500, 0])
        assert node.models.account("a/0") == {"calls": 1, "input_tokens": 1000, "output_tokens": 500, "usd": 0.0105}
        grant, _ = node.lease(tokens=2000)
        assert "0.02 USD" in (await grant)["exceeded"][0]

    node(test, {"price": {"input": 3.0, "output": 15.0}, "budget": {"usd": 0.02}})


def test_a_call_without_a_lease_is_counted_when_it_is_over(node):
    async def test(node):
        await node.settle(0, [3, 4, 0])
        await node.settle(0, None, ok=False)
        assert node.models.account("a/0") == {"calls": 1, "input_tokens": 3, "output_tokens": 4, "usd": 0.0}
        assert node.models.account("b/0") is None

    node(test, {})


def test_a_call_that_was_refused_costs_nothing(node):
    async def test(node):
        for _ in range(20):
            grant, number = node.lease(tokens=900)
            await grant
            await node.settle(number, [0, 0, 0], ok=False)
        assert node.models.account("a/0") is None

    node(test, {"budget": {"tokens": 950}})


def test_what_nobody_knows_stays_charged(node):
    async def test(node):
        grant, number = node.lease(tokens=900)
        await grant
        await node.settle(number, None, ok=False)
        assert node.models.account("a/0")["calls"] == 1
        grant, _ = node.lease()
        assert "exceeded" in await grant

    node(test, {"budget": {"tokens": 950}})


def test_a_death_ends_what_waits_and_leaves_what_runs_charged(node):
    async def test(node):
        running, _ = node.lease("a/0", 900)
        await running
        waiting, _ = node.lease("a/0", 900)
        other, _ = node.lease("b/0", 40)
        await other
        assert await is_waiting(waiting)
        node.models.ended("a/0")
        await eventually(waiting.done)
        assert waiting.cancelled()
        assert node.models.account("a/0")["calls"] == 1
        assert node.models.account("b/0") is None
        grant, _ = node.lease("b/0", 100)
        assert "exceeded" in await grant

    node(test, {"budget": {"tokens": 950}})


def test_what_an_agent_said_last_counts_before_its_death(node):
    async def test(node):
        grant, number = node.lease(tokens=900)
        await grant
        said = asyncio.ensure_future(node.settle(number, [10, 5, 0]))  # read from its pipe, not obeyed yet
        node.models.ended("a/0")
        await said
        await asyncio.sleep(0)
        assert node.models.account("a/0") == {"calls": 1, "input_tokens": 10, "output_tokens": 5, "usd": 0.0}

    node(test, {"budget": {"tokens": 950}})


def test_who_does_not_wait_any_more_holds_nobody_up(node):
    async def test(node):
        first, _ = node.lease()
        await first
        second, number = node.lease()
        third, _ = node.lease("b/0")
        assert await is_waiting(second)
        await node.settle(number, [0, 0, 0], ok=False)
        await eventually(second.done)
        assert "until_ns" in await asyncio.wait_for(third, 5)

    node(test, {"rate": {"requests": 20, "per": 0.25}})


def test_other_limits_count_at_once(node):
    async def test(node):
        first, _ = node.lease()
        await first
        second, _ = node.lease()
        assert await is_waiting(second)
        node.models.renew(llm_specs({}, {}))
        third, _ = node.lease("b/0")
        assert "until_ns" in await asyncio.wait_for(third, 5)

    node(test, {"rate": {"requests": 1, "per": 1.0}})


def test_accounts_and_windows_outlive_the_supervisor(tmp_path):
    async def first():
        node = Node(tmp_path, {"default": {"budget": {"tokens": 950}}})
        await node.spend(900)
        node.lease(tokens=40)
        await asyncio.sleep(0)
        node.models.close()

    async def second():
        node = Node(tmp_path, {"default": {"budget": {"tokens": 950}}})
        assert node.models.account("a/0")["input_tokens"] == 900
        grant, _ = node.lease()
        assert "exceeded" in await grant
        node.models.close()

    asyncio.run(first())
    assert [path.name for path in tmp_path.iterdir()] == ["llm.json"]
    asyncio.run(second())


def test_an_agent_that_is_removed_leaves_nothing_behind(tmp_path):
    def saved():
        return json.loads((tmp_path / "llm.json").read_text())

    async def test():
        node = Node(tmp_path, {}, a={"tokens": 1000}, b={"tokens": 1000})
        for member in ("a/0", "a/1", "b/0"):
            await node.spend(10, member)
            await node.lease(member, 20)[0]
        node.models._save()
        assert set(saved()["windows"]) == {"agents.a", "agents.b"}
        node.models.ended("a/0")
        del node.members["a/0"]
        node.models.forget("a/0")
        await eventually(lambda: node.models.account("a/0") is None)  # its call that was in flight is counted first
        assert node.models._budgets["agents.a"].spent.tokens == 40  # a/1 lives on it
        del node.members["a/1"], node.members["b/0"]
        node.models.forget("a/1")
        node.models.ended("a/1")
        node.models.forget("b/0")
        await eventually(lambda: not node.models._leases)
        node.models.close()
        assert (node.models._budgets, saved()) == ({}, {"accounts": {}, "windows": {}})

    asyncio.run(test())


def test_a_broken_file_of_accounts_begins_anew_and_says_so(tmp_path, caplog):
    (tmp_path / "llm.json").write_text(json.dumps({"accounts": 1}))

    async def test():
        assert Node(tmp_path, {}).models.account("a/0") is None

    with caplog.at_level(logging.WARNING):
        asyncio.run(test())
    assert "no file of accounts" in caplog.text


@pytest.mark.parametrize(
    ("order", "field"),
    [
        ({"do": "lease", "number": 1, "profile": "nope", "tokens": 1}, "profile"),
        ({"do": "lease", "number": "x", "profile": "default", "tokens": 1}, "number"),
        ({"do": "settle", "number": 1, "profile": "default", "usage": [1], "ok": True}, "usage"),
        ({"do": "buy"}, "do"),
    ],
)
def test_nonsense_is_refused(node, order, field):
    async def test(node):
        with pytest.raises(BadMessage):
            await node.models.obey("a/0", order)

    node(test, {})
