"""Texts in, one summary out; many texts in parts."""

import asyncio
import logging
import os
import signal
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsys import BadMessage, Supervisor
from actorsys.agents import Item, Summarize, Summarizer, Work
from actorsys.agents.summarizer import packed
from actorsys.llm import LLM, Profile
from actorsys.testing.llm import Answer, FakeOpenAI
from actorsys.testing.waiting import eventually

BEES = {"title": "Bees", "content": "They dance. They hum.", "source": "a book"}
ANTS = {"title": "Ants", "content": "They are many. They carry.", "source": "another"}


class Counted(LLM):
    """The mock, and how it was called."""

    def __init__(self):
        super().__init__({"default": Profile()}, "default")
        self.prompts = []
        self.at_once = self.most_at_once = 0

    async def complete(self, prompt, **options):
        self.prompts.append(prompt)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        completion = await super().complete(prompt, **options)
        self.at_once -= 1
        return completion


class Alone(Summarizer):
    """Without a process."""

    llm = state = None
    log = logging.getLogger("alone")


@pytest.fixture
def make():
    def make(**args):
        agent = Alone(**args)
        agent.llm, agent.state = Counted(), {}
        return agent

    return make


def test_what_fits_is_one_call(make):
    agent = make()
    summary = asyncio.run(agent.summarize(Summarize([Item("They dance. They hum.", "Bees"), Item("They are many.", "Ants")])))
    assert summary == "Bees: They dance. Ants: They are many."
    assert len(agent.llm.prompts) == 1
    assert agent.state == {"last_summary": summary}


def test_what_does_not_fit_is_summed_up_in_parts_and_then_the_parts(make):
    agent = make(max_chars=100)
    items = [Item(f"Fact {number} is here. " + "More. " * 10) for number in range(12)]
    summary = asyncio.run(agent.summarize(Summarize(items)))
    assert len(agent.llm.prompts) > 12
    assert agent.llm.most_at_once == 4
    assert all(len(prompt) < 400 for prompt in agent.llm.prompts)
    assert summary.startswith("Fact 0 is here.")
    assert agent.state == {"last_summary": summary}


def test_a_model_that_does_not_shorten_anything_still_comes_to_an_end(make):
    agent = make(max_chars=100)
    asyncio.run(agent.summarize(Summarize([Item("x" * 10_000)])))
    assert len(agent.llm.prompts) < 150


def test_a_step_of_a_workflow_sums_up_what_it_depends_on(make):
    summary = asyncio.run(make().work(Work("Say it shortly.", {"bees": "They dance. They hum.", "numbers": [1, 2]})))
    assert summary == "bees: They dance. numbers: [1,2]"


def test_with_nothing_to_sum_up_the_field_is_named(make):
    with pytest.raises(BadMessage) as wrong:
        asyncio.run(make().summarize(Summarize()))
    assert wrong.value.field == "data"


def test_an_argument_without_room_for_text_is_refused():
    with pytest.raises(ValueError, match="max_chars is 10"):
        Summarizer(max_chars=10)


@given(st.lists(st.builds(Item, st.text(max_size=300), st.text(max_size=80), st.text(max_size=80)), max_size=8))
def test_no_part_is_too_long_and_no_text_is_lost(items):
    parts = packed(items, 100)
    for part in parts:
        assert sum(len(item.content) + len(item.title) + len(item.source) for item in part) <= 100
    assert "".join(item.content for part in parts for item in part) == "".join(item.content for item in items)


@pytest.mark.slow
def test_in_its_own_process_it_answers_plain_json_and_the_message_class():
    async def main():
        async with Supervisor() as sup:
            agent = await sup.spawn("summarizer", name="summarizer")
            assert await agent.ask({"llm_task": "summarize", "data": [BEES, ANTS]}) == "Bees: They dance. Ants: They are many."
            assert await agent.ask(Summarize([Item("All is well. It is.")])) == "All is well."
            assert await agent.state() == {"last_summary": "All is well."}
            with pytest.raises(BadMessage) as wrong:
                await agent.ask({"llm_task": "summarize", "data": [{"title": "Bees"}]})
            assert wrong.value.field == "data[0].content"

    asyncio.run(main())


@pytest.mark.slow
def test_a_told_message_that_is_no_task_is_a_dead_letter_and_does_not_end_the_agent():
    async def main():
        async with Supervisor() as sup:
            agent = await sup.spawn("summarizer", name="summarizer")
            await agent.tell({"llm_task": "dance"})
            await agent.ask({"llm_task": "summarize", "data": [BEES]})
            info = await agent.info()
            assert (info["restarts"], info["dead_letters"]) == (0, 1)

    asyncio.run(main())


def stored_calls(folder):
    (file,) = folder.glob("*.sqlite")
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as db:
        return sum("/llm/" in key for (key,) in db.execute("select key from state"))


@pytest.mark.slow
def test_killed_among_its_parts_it_pays_no_finished_call_again(tmp_path):
    async def main():
        with FakeOpenAI() as model:
            model.rule = lambda request: Answer(f"part {request.number}.")
            llm = {"counted": {"provider": "openai", "base_url": model.url, "model": "m"}}
            async with Supervisor(state_dir=tmp_path, llm=llm) as sup, asyncio.timeout(60):
                agent = await sup.spawn("summarizer", name="s", llm="counted", memory="sqlite", args={"max_chars": 100})
                model.hold()
                items = [Item(letter * 90) for letter in "abc"]
                asking = asyncio.create_task(agent.ask(Summarize(items), timeout=50))
                await eventually(lambda: len(model.requests) == 3)
                model.release(2)
                await eventually(lambda: stored_calls(sup.agents_dir) == 2)
                os.kill((await agent.info())["pid"], signal.SIGKILL)
                await eventually(lambda: len(model.requests) == 4)
                model.release()
                assert (await asking).startswith("part ")
            outcomes = [request.outcome for request in model.requests]
            assert (outcomes.count("answered"), outcomes.count("lost"), len(outcomes)) == (4, 1, 5)

    asyncio.run(main())
