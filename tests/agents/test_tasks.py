"""What a plain JSON message asks of a built-in agent, and which field is wrong with it."""

import asyncio

import pytest

from actorsys import BadMessage, RemoteError
from actorsys.agents import Summarize, Work
from actorsys.agents.tasks import task_of, together

TASKS = {"summarize": Summarize, "work": Work}


def test_a_task_is_read_as_its_class():
    payload = {"llm_task": "summarize", "data": [{"title": "Bees", "content": "They dance.", "source": "a book"}]}
    (item,) = task_of(payload, TASKS).data
    assert (item.title, item.content, item.source) == ("Bees", "They dance.", "a book")


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ("hello", "llm_task"),
        (None, "llm_task"),
        ({"data": []}, "llm_task"),
        ({"llm_task": "sumarize"}, "llm_task"),
        ({"llm_task": ["summarize"]}, "llm_task"),
        ({"llm_task": "work"}, "task"),
        ({"llm_task": "work", "task": 7}, "task"),
        ({"llm_task": "summarize", "data": "text"}, "data"),
        ({"llm_task": "summarize", "data": [{"content": "x"}, {"title": "Bees"}]}, "data[1].content"),
        ({"llm_task": "summarize", "data": [{"content": 7}]}, "data[0].content"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named_by_its_field(payload, field):
    with pytest.raises(BadMessage) as wrong:
        task_of(payload, TASKS)
    assert wrong.value.field == field


def test_what_runs_together_comes_back_in_order():
    async def slow(number):
        for _ in range(3 - number):
            await asyncio.sleep(0)
        return number

    assert asyncio.run(together(slow(number) for number in range(3))) == [0, 1, 2]


def test_the_first_that_fails_ends_the_others_and_its_own_error_is_raised():
    ended = []

    async def waits():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("waits")

    async def fails():
        await asyncio.sleep(0)
        raise RemoteError("no")

    with pytest.raises(RemoteError, match="no"):
        asyncio.run(together([waits(), fails()]))
    assert ended == ["waits"]
