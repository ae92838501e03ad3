"""Forms, tools, streams, and what a journal keeps of them."""

import asyncio
import threading

import pytest
from msgspec import Struct

from actorsys import BadCompletion, BadModelCall, ModelUnavailable
from actorsys.llm.base import Turn, Usage
from actorsys.llm.mock import Rule, Scripted


class City(Struct):
    name: str
    degrees: int = 0


def ask(llm, text="x", **more):
    return asyncio.run(llm.complete(text, **more))


async def read(stream):
    return [piece async for piece in stream]


def test_a_prompt_is_text_or_turns_and_a_system_text_comes_first(llm_of):
    llm = llm_of([])
    ask(llm, "hello", system="be kind", temperature=0.5, max_tokens=7)
    ask(llm, [Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c")])
    first, second = llm.mocks[0].calls
    assert first.turns == (Turn("system", "be kind"), Turn("user", "hello"))
    assert (first.temperature, first.max_tokens, first.model) == (0.5, 7, "model-a")
    assert [turn.content for turn in second.turns] == ["a", "b", "c"]
    assert (second.temperature, second.max_tokens) == (None, 1024)


# --- a form


def test_an_answer_is_parsed_to_the_struct_that_was_asked_for(llm_of):
    llm = llm_of([Rule(json={"name": "Rome", "degrees": 18})])
    assert ask(llm, schema=City).parsed == City("Rome", 18)
    assert llm.mocks[0].calls[0].schema_name == "City"


@pytest.mark.parametrize("bad", [Rule(times=1, error="garbage"), Rule(times=1, json={"name": 1}), Rule(times=1, text="sure!")])
def test_an_answer_of_another_form_is_repaired_once(llm_of, bad):
    llm = llm_of([bad, Rule(json={"name": "Rome", "degrees": 18}, usage=Usage(1, 2))])
    answer = ask(llm, schema=City)
    assert answer.parsed == City("Rome", 18)
    repair = llm.mocks[0].calls[1].turns
    assert [turn.role for turn in repair] == ["user", "assistant", "user"]
    assert "not of the form" in repair[-1].content
    assert answer.usage.output_tokens > 2  # both calls


def test_an_answer_that_stays_wrong_is_an_error_with_its_text(llm_of):
    llm = llm_of([Rule(json={"name": 1})])
    with pytest.raises(BadCompletion, match=r"is no City: .*\$\.name") as caught:
        ask(llm, schema=City)
    assert caught.value.text == '{"name": 1}'
    assert len(llm.mocks[0].calls) == 2


def test_a_form_that_is_cut_off_is_not_asked_for_again(llm_of):
    llm = llm_of([Rule(text='{"name": "Rome and more')])
    with pytest.raises(BadCompletion, match="raise max_tokens"):
        ask(llm, schema=City, max_tokens=2)
    assert len(llm.mocks[0].calls) == 1


def test_a_text_that_is_cut_off_is_an_error_with_what_there_is(llm_of):
    with pytest.raises(BadCompletion, match="cut off; raise max_tokens") as caught:
        ask(llm_of([Rule(text="one two three")]), max_tokens=2)
    assert caught.value.text == "one two"


# --- tools


def test_tools_of_one_answer_run_side_by_side_and_their_results_go_back(llm_of):
    meeting = asyncio.Barrier(2)

    async def weather(city: str, days: int = 1) -> dict:
        """The weather."""
        async with asyncio.timeout(5):
            await meeting.wait()
        return {"city": city, "days": days}

    async def news(topic: str) -> str:
        async with asyncio.timeout(5):
            await meeting.wait()
        return f"news of {topic}"

    calls = (Scripted("weather", {"city": "Rome", "days": 2}), Scripted("news", {"topic": "art"}))
    llm = llm_of([Rule(times=1, tool_calls=calls), Rule(text="done")])
    answer = ask(llm, tools=[weather, news])
    assert (answer.text, answer.tool_calls) == ("done", ())
    asked, first, second = llm.mocks[0].calls[1].turns[-3:]
    assert [call.name for call in asked.tool_calls] == ["weather", "news"]
    assert (first.content, second.content) == ('{"city":"Rome","days":2}', "news of art")
    assert (first.tool_call_id, second.tool_call_id) == tuple(call.id for call in asked.tool_calls)
    assert [tool.name for tool in llm.mocks[0].calls[0].tools] == ["weather", "news"]


def test_a_plain_function_runs_in_a_thread(llm_of):
    def where() -> str:
        return threading.current_thread().name

    llm = llm_of([Rule(times=1, tool_calls=(Scripted("where"),)), Rule(text="done")])
    ask(llm, tools=[where])
    assert llm.mocks[0].calls[1].turns[-1].content != threading.main_thread().name


def divide(a: int, b: int) -> float:
    return a / b


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("divide", {"a": 1, "b": 0}, "error: ZeroDivisionError: division by zero"),
        ("divide", {"a": "x", "b": 0}, "error: ValidationError: Expected `int`, got `str` - at `$.a`"),
        ("divide", {"a": 1}, "error: ValidationError: Object missing required field `b`"),
        ("divde", {}, "error: no tool is named 'divde'. Did you mean 'divide'?"),
    ],
)
def test_what_goes_wrong_with_a_tool_is_told_to_the_model(llm_of, name, arguments, told):
    llm = llm_of([Rule(times=1, tool_calls=(Scripted(name, arguments),)), Rule(text="done")])
    assert ask(llm, tools=[divide]).text == "done"
    assert llm.mocks[0].calls[1].turns[-1].content.startswith(told)


@pytest.mark.parametrize("is_plain", [False, True])
def test_a_tool_that_takes_too_long_is_told_to_the_model(llm_of, is_plain):
    go_on = threading.Event()

    async def hang() -> str:
        await asyncio.Event().wait()

    def hang_plainly() -> str:
        go_on.wait(10)

    async def quick() -> str:
        return "there"

    async def test(llm, tool):
        try:
            await llm.complete("x", tools=[tool, quick], tool_timeout=0.05)
        finally:
            go_on.set()  # the thread lives on until then

    tool = hang_plainly if is_plain else hang
    llm = llm_of([Rule(times=1, tool_calls=(Scripted(tool.__name__), Scripted("quick"))), Rule(text="done")])
    asyncio.run(asyncio.wait_for(test(llm, tool), 5))
    assert [turn.content for turn in llm.mocks[0].calls[1].turns[-2:]] == ["error: no answer within 50ms", "there"]


@pytest.mark.parametrize("limit", ["timeout", "deadline"])
def test_a_tool_gets_no_more_time_than_is_left(llm_of, limit):
    async def hang() -> str:
        await asyncio.Event().wait()

    script = [Rule(times=1, tool_calls=(Scripted("hang"),)), Rule(text="done")]
    llm = llm_of(script, deadline=lambda: 0.05 if limit == "deadline" else None)
    with pytest.raises(ModelUnavailable, match="no time is left"):
        asyncio.run(asyncio.wait_for(llm.complete("x", tools=[hang], timeout=0.05 if limit == "timeout" else None), 5))


def test_a_model_that_asks_for_the_same_again_and_again_is_stopped(llm_of):
    done = []

    def look(at: str) -> str:
        done.append(at)
        return "nothing"

    llm = llm_of([Rule(tool_calls=(Scripted("look", {"at": "it"}),))])
    with pytest.raises(BadCompletion, match="'look' with the same arguments 3 times"):
        ask(llm, tools=[look])
    assert done == ["it", "it"]


def test_a_model_that_never_ends_is_stopped(llm_of):
    llm = llm_of([Rule(times=1, tool_calls=(Scripted("divide", {"a": n, "b": 1}),)) for n in range(20)])
    with pytest.raises(BadCompletion, match="after 4 steps"):
        ask(llm, tools=[divide], max_steps=4)
    assert len(llm.mocks[0].calls) == 4


@pytest.mark.parametrize("steps", [0, -1])
def test_less_than_one_step_is_a_bad_call(llm_of, steps):
    llm = llm_of([])
    with pytest.raises(BadModelCall, match=f"1 or more, not {steps}"):
        ask(llm, max_steps=steps)
    assert llm.mocks[0].calls == []


def test_a_number_that_no_journal_can_hold_is_told_to_the_model(llm_of, journal):
    llm = llm_of([Rule(times=1, tool_calls=(Scripted("divide", {"a": 2**64, "b": 1}),)), Rule(text="done")], journal=journal)
    assert ask(llm, tools=[divide]).text == "done"
    assert llm.mocks[0].calls[1].turns[-1].content.startswith("error: the arguments hold what cannot be stored")


def test_tools_and_a_form_go_together(llm_of):
    llm = llm_of([Rule(times=1, tool_calls=(Scripted("divide", {"a": 4, "b": 2}),)), Rule(json={"name": "Rome", "degrees": 2})])
    assert ask(llm, tools=[divide], schema=City).parsed == City("Rome", 2)


def test_two_tools_of_one_name_are_refused(llm_of):
    with pytest.raises(TypeError, match="two tools are named 'divide'"):
        ask(llm_of([]), tools=[divide, divide])


# --- streams


def test_a_stream_gives_pieces_and_then_has_the_completion(llm_of, gate):
    llm = llm_of([Rule(text="one two three")])
    stream = llm.stream("x")
    assert asyncio.run(read(stream)) == ["one", " two", " three"]
    assert (stream.completion.text, stream.completion.usage) == ("one two three", Usage(1, 3))
    assert gate.settled == [(1, Usage(1, 3), True)]


def test_a_stream_goes_to_the_next_provider_before_its_first_piece_only(llm_of):
    llm = llm_of([Rule(error=503)], [Rule(text="from b")])
    assert asyncio.run(read(llm.stream("x"))) == ["from", " b"]
    assert len(llm.mocks[0].calls) == 1


def test_a_stream_that_fails_raises_where_it_is_read(llm_of):
    with pytest.raises(ModelUnavailable):
        asyncio.run(read(llm_of([Rule(error=503)]).stream("x")))


def test_a_stream_that_is_left_ends_its_call(llm_of, gate):
    llm = llm_of([Rule(text="one two three")])

    async def run():
        pieces = aiter(llm.stream("x"))
        first = await anext(pieces)
        await pieces.aclose()
        return first

    assert asyncio.run(run()) == "one"
    assert gate.settled == [(1, None, False)]


# --- the journal


def workflow(llm):
    """Two calls at once, a form, a tool loop and a stream."""

    async def run():
        pair = await asyncio.gather(llm.complete("a"), llm.complete("b"))
        city = await llm.complete("c", schema=City)
        tools = await llm.complete("d", tools=[divide])
        return [each.text for each in pair], city.parsed, tools.text, "".join(await read(llm.stream("e")))

    return asyncio.run(run())


def test_what_was_finished_is_not_called_again_in_another_life(llm_of, journal, gate):
    script = [
        Rule(match="c", json={"name": "Rome", "degrees": 18}),
        Rule(match="d", times=1, tool_calls=(Scripted("divide", {"a": 4, "b": 2}),)),
        Rule(match="e", text="one two"),
    ]
    first = llm_of(script, journal=journal)
    wanted = workflow(first)
    assert wanted == (["a", "b"], City("Rome", 18), "2.0", "one two")
    assert [name.partition("/")[0] for name in journal.names] == ["llm", "llm", "llm", "llm", "tool", "llm", "llm"]
    second = llm_of([Rule(error=500)], journal=journal)
    assert workflow(second) == wanted
    assert second.mocks[0].calls == []
    assert len(gate.leased) == 6


def test_a_stream_comes_as_one_piece_when_it_was_finished_before(llm_of, journal):
    assert len(asyncio.run(read(llm_of([Rule(text="one two")], journal=journal).stream("x")))) == 2
    again = llm_of([], journal=journal).stream("x")
    assert asyncio.run(read(again)) == ["one two"]
    assert again.completion.text == "one two"


def test_the_time_left_makes_no_other_call_of_it(llm_of, journal):
    ask(llm_of([], journal=journal, deadline=lambda: 9.0))
    ask(llm_of([], journal=journal, deadline=lambda: 5.0))
    assert len(journal.names) == 1


@pytest.mark.parametrize("more", [{"system": "y"}, {"max_tokens": 5}, {"temperature": 0.1}, {"model": "m"}, {"schema": City}])
def test_whatever_changes_the_answer_makes_another_call_of_it(llm_of, journal, more):
    llm = llm_of([Rule(json={"name": "a"})], journal=journal)
    ask(llm)
    ask(llm, **more)
    assert len(journal.names) == 2
