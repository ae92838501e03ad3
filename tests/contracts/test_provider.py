"""What every provider of language models promises."""

import asyncio
import sys
import traceback
from pathlib import Path

import msgspec
import psutil
import pytest
from msgspec import Struct, structs

from actorsys import BadModelCall, ModelAuthError, ModelError, ModelUnavailable
from actorsys.llm.base import Call, Completion, ToolCall, ToolSpec, Turn, Usage
from actorsys.llm.schema import strict_schema, tool_spec
from actorsys.testing.llm import Answer, refusal
from actorsys.testing.waiting import eventually

sys.path.append(str(Path(__file__).parent))

from provider_worlds import FACTORIES, KEY, World  # found only now


class Item(Struct):
    name: str
    price: float = 0.0


class Order(Struct):
    """What was ordered."""

    items: list[Item]
    note: str | None = None


def add(a: int, b: int = 0) -> int:
    """Add two numbers."""
    return a + b


CALL = Call((Turn("system", "Be brief."), Turn("user", "Say hello")), model="tiny", max_tokens=50, timeout=10.0)


@pytest.fixture(params=FACTORIES)
def check(request):
    def run(body, **options):
        async def guarded():
            async with asyncio.timeout(30), World(request.param, **options) as world:
                await body(world)

        asyncio.run(guarded())

    return run


async def parts_of(world, call=CALL):
    """(the pieces, the completion) of a stream."""
    *pieces, last = [part async for part in world.provider.stream(call)]
    assert all(isinstance(piece, str) for piece in pieces)
    return pieces, last


async def read_into(pieces, stream):
    async for part in stream:
        pieces.append(part)


async def both_ways(world, call, answer):
    """The completion of the same answer, asked for whole and as a stream."""
    world.fake.script(answer)
    yield await world.provider.complete(call)
    world.fake.script(answer)
    yield (await parts_of(world, call))[1]


def test_a_prompt_is_answered_with_text_usage_and_where_it_came_from(check):
    async def body(world):
        async for found in both_ways(world, CALL, Answer("Hello there", usage=Usage(9, 2, 4))):
            assert (found.text, found.usage, found.stop, found.tool_calls) == ("Hello there", Usage(9, 2, 4), "end", ())
            assert (found.model, found.provider) == ("tiny", world.provider.name)
            assert 0 < found.latency < 10

    check(body)


def test_system_and_sampling_and_limit_arrive(check):
    async def body(world):
        await world.provider.complete(structs.replace(CALL, temperature=0.25))
        sent = world.fake.requests[0].body
        assert "Be brief." in str(sent.get("system") or sent.get("instructions") or sent.get("messages"))
        assert world.fake.requests[0].asked == "Say hello"
        assert sent["temperature"] == 0.25
        assert 50 in (sent.get("max_tokens"), sent.get("max_output_tokens"))

    check(body)


def test_without_a_temperature_none_is_sent(check):
    async def body(world):
        await world.provider.complete(CALL)
        assert "temperature" not in world.fake.requests[0].body

    check(body)


def test_a_conversation_is_sent_whole_and_in_order(check):
    async def body(world):
        turns = (Turn("user", "one"), Turn("assistant", "two"), Turn("user", "three"))
        assert (await world.provider.complete(structs.replace(CALL, turns=turns))).text == "echo: three"
        sent = str(world.fake.requests[0].body)
        assert sent.index("'one'") < sent.index("'two'") < sent.index("'three'")

    check(body)


def test_tools_are_called_in_parallel_and_their_results_are_understood(check):
    async def body(world):
        call = structs.replace(CALL, tools=(tool_spec(add),))
        answer = Answer("Adding.", tools=(("add", {"a": 1, "b": 2}), ("add", {"a": 3, "b": 4})))
        async for found in both_ways(world, call, answer):
            assert found.stop == "tool"
            assert found.text == "Adding."
            assert [(each.name, each.arguments, each.problem) for each in found.tool_calls] == [
                ("add", {"a": 1, "b": 2}, ""),
                ("add", {"a": 3, "b": 4}, ""),
            ]
            ids = [each.id for each in found.tool_calls]
            assert len(set(ids)) == 2
            results = [Turn("tool", str(number), tool_call_id=id) for id, number in zip(ids, (3, 7), strict=True)]
            turns = (*call.turns, Turn("assistant", found.text, found.tool_calls), *results)
            done = await world.provider.complete(structs.replace(call, turns=turns))
            assert "7" in done.text

    check(body)


def test_a_tool_may_be_called_without_a_word(check):
    async def body(world):
        call = structs.replace(CALL, tools=(tool_spec(add),))
        async for found in both_ways(world, call, Answer(tools=(("add", {"a": 1, "b": 2}),))):
            assert (found.text, found.stop, len(found.tool_calls)) == ("", "tool", 1)
            turns = (*call.turns, Turn("assistant", "", found.tool_calls), Turn("tool", "3", tool_call_id=found.tool_calls[0].id))
            await world.provider.complete(structs.replace(call, turns=turns))

    check(body)


@pytest.mark.parametrize(("arguments", "problem"), [('{"a": 1,', "no valid JSON"), ("[1, 2]", "must be a JSON object, not list")])
def test_garbage_arguments_are_told_and_do_not_fail_the_call(check, arguments, problem):
    async def body(world):
        call = structs.replace(CALL, tools=(tool_spec(add),))
        async for found in both_ways(world, call, Answer(tools=(("add", arguments), ("add", {"a": 1, "b": 1})))):
            first, second = found.tool_calls
            assert first.arguments == {}
            # One that gives arguments as values, not as text, can only say that they are no object.
            assert problem in first.problem or "must be a JSON object" in first.problem
            assert second.problem == ""

    check(body)


def test_a_tool_whose_schema_is_not_strict_is_offered_all_the_same(check):
    async def body(world):
        loose = ToolSpec("look", "Look.", {"type": "object", "properties": {"at": {"type": "object"}}})
        assert (await world.provider.complete(structs.replace(CALL, tools=(loose,)))).stop == "end"

    check(body)


def test_an_answer_has_the_schema_that_was_asked_for(check):
    async def body(world):
        call = structs.replace(CALL, schema=strict_schema(Order), schema_name="order")
        found = await world.provider.complete(call)
        assert msgspec.json.decode(found.text, type=Order) == Order([])
        world.fake.script(Answer('{"items": [{"name": "tea", "price": 2}], "note": null}'))
        assert msgspec.json.decode((await world.provider.complete(call)).text, type=Order) == Order([Item("tea", 2.0)])

    check(body)


def test_a_server_without_schemas_is_asked_in_words_and_remembered(check):
    async def body(world):
        call = structs.replace(CALL, schema=strict_schema(Order))
        talk = 'Of course!\n```json\n{"items": [], "note": "ok"}\n```\nAnything else?'
        world.fake.script(Answer(talk), Answer(talk))
        for _ in range(2):
            found = await world.provider.complete(call)
            assert msgspec.json.decode(found.text, type=Order) == Order([], "ok")
        assert [request.outcome for request in world.fake.requests] == ["refused", "answered", "answered"]
        assert "Answer with one JSON value" in str(world.fake.requests[1].body)

    check(body, schemas=False)


def test_a_wrong_schema_is_not_taken_for_a_server_without_schemas(check):
    async def body(world):
        with pytest.raises(BadModelCall, match="additionalProperties"):
            await world.provider.complete(structs.replace(CALL, schema={"type": "object", "properties": {}}))
        assert len(world.fake.requests) == 1

    check(body)


def test_a_stream_gives_its_pieces_in_order_and_the_completion_last(check):
    async def body(world):
        world.fake.script(Answer("one two three four five six seven", usage=Usage(3, 7)))
        pieces, last = await parts_of(world)
        assert len(pieces) > 2
        assert "".join(pieces) == last.text == "one two three four five six seven"
        assert isinstance(last, Completion)
        assert (last.usage, last.stop, last.model, last.provider) == (Usage(3, 7), "end", "tiny", world.provider.name)

    check(body)


@pytest.mark.parametrize("stop", ["length", "filter"])
def test_it_says_why_the_model_stopped(check, stop):
    async def body(world):
        async for found in both_ways(world, CALL, Answer("Once upon", stop=stop)):
            assert (found.text, found.stop) == ("Once upon", stop)

    check(body)


ERRORS = {
    400: BadModelCall,
    401: ModelAuthError,
    402: ModelAuthError,
    403: ModelAuthError,
    404: BadModelCall,
    408: ModelUnavailable,
    409: ModelUnavailable,
    413: BadModelCall,
    422: BadModelCall,
    429: ModelUnavailable,
    500: ModelUnavailable,
    502: ModelUnavailable,
    503: ModelUnavailable,
    529: ModelUnavailable,
}


@pytest.mark.parametrize("way", ["complete", "stream"])
def test_each_refusal_is_the_error_that_says_what_to_do(check, way):
    async def body(world):
        for status, kind in ERRORS.items():
            world.fake.script(refusal(status, "so it is"))
            with pytest.raises(ModelError, match="so it is") as caught:
                await (world.provider.complete(CALL) if way == "complete" else parts_of(world))
            error = caught.value
            assert type(error) is kind, status
            assert (error.status, error.provider, error.model) == (status, world.provider.name, "tiny")
        assert len(world.fake.requests) == len(ERRORS)  # nothing was tried again

    check(body)


def test_a_spent_account_is_no_rate_limit(check):
    async def body(world):
        world.fake.script(refusal(429, "You exceeded your current quota", kind="insufficient_quota"))
        with pytest.raises(ModelAuthError, match="quota"):
            await world.provider.complete(CALL)

    check(body)


@pytest.mark.parametrize(
    ("answer", "after"),
    [
        (refusal(429, retry_after=1.5), 1.5),
        (Answer("slow down", status=429, headers={"retry-after-ms": "250"}), 0.25),
        (refusal(429, "Rate limit reached. Please try again in 1m2.5s."), 62.5),
        (refusal(503), None),
    ],
    ids=["seconds", "milliseconds", "text", "nothing"],
)
def test_it_says_when_to_come_back(check, answer, after):
    async def body(world):
        world.fake.script(answer)
        with pytest.raises(ModelUnavailable) as caught:
            await world.provider.complete(CALL)
        assert caught.value.retry_after == after

    check(body)


def test_a_date_to_come_back_becomes_seconds(check):
    async def body(world):
        world.fake.script(Answer("later", status=503, headers={"retry-after": "Fri, 01 Jan 2100 00:00:00 GMT"}))
        with pytest.raises(ModelUnavailable) as caught:
            await world.provider.complete(CALL)
        assert caught.value.retry_after > 1e6

    check(body)


@pytest.mark.parametrize("way", ["complete", "stream"])
def test_a_slow_answer_is_a_timeout(check, way):
    async def body(world):
        world.fake.hold()
        with pytest.raises(ModelUnavailable, match=r"no answer within 0\.2 s"):
            await (world.provider.complete if way == "complete" else lambda call: parts_of(world, call))(
                structs.replace(CALL, timeout=0.2)
            )
        world.fake.release()
        assert (await world.provider.complete(CALL)).text == "echo: Say hello"

    check(body)


@pytest.mark.parametrize("fault", ["reset", "cut", "garbage", "failure"])
def test_a_broken_answer_is_unavailable_and_the_next_call_works(check, fault):
    async def body(world):
        world.fake.script(Answer("one two three four five six", fault=fault), Answer("one two three four five six", fault=fault))
        with pytest.raises(ModelUnavailable) as whole:
            await world.provider.complete(CALL)
        pieces = []
        with pytest.raises(ModelUnavailable) as streamed:
            await read_into(pieces, world.provider.stream(CALL))
        assert not any(isinstance(part, Completion) for part in pieces)
        assert bool(pieces) == (fault != "reset")
        for caught in (whole, streamed):
            assert (caught.value.provider, caught.value.model) == (world.provider.name, "tiny")
        assert (await world.provider.complete(CALL)).text == "echo: Say hello"

    check(body)


def test_a_server_that_is_not_there_is_unavailable(check):
    async def body(world):
        world.fake.stop()
        with pytest.raises(ModelUnavailable, match="cannot be reached"):
            await world.provider.complete(CALL)

    check(body)


def test_no_error_shows_the_key(check):
    async def body(world):
        seen = []
        echoes = [refusal(status, f"your key {KEY} and Bearer {KEY} are odd") for status in ERRORS]
        broken = [Answer("x", fault=fault) for fault in ("reset", "cut", "garbage", "failure")]
        world.fake.script(*echoes, *broken)
        for _ in range(len(echoes) + len(broken)):
            with pytest.raises(ModelError) as caught:
                await world.provider.complete(CALL)
            seen.append("".join(traceback.format_exception(caught.value)))
        world.fake.key = "another"  # the server names the key that it does not take
        with pytest.raises(ModelAuthError) as caught:
            await world.provider.complete(CALL)
        seen += ["".join(traceback.format_exception(caught.value)), repr(world.provider)]
        assert all(KEY not in text for text in seen)
        assert "***" in seen[-2]

    check(body)


def test_a_closed_stream_and_a_cancelled_call_hang_up(check):
    async def body(world):
        stream = world.provider.stream(CALL)
        assert await anext(stream) == "echo: Say"
        await stream.aclose()
        world.fake.hold()
        task = asyncio.create_task(world.provider.complete(CALL))
        await eventually(lambda: len(world.fake.requests) == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(lambda: world.fake.requests[1].outcome == "lost")

    check(body)


def test_closing_leaves_no_socket_and_a_later_call_opens_a_new_one(check):
    async def body(world):
        def ours():
            port = int(world.fake.url.split(":")[2].partition("/")[0])
            return [each for each in psutil.Process().net_connections("tcp") if each.raddr and each.raddr.port == port]

        await asyncio.gather(*(world.provider.complete(CALL) for _ in range(3)))
        assert ours()
        await world.provider.close()
        await eventually(lambda: not ours())
        await world.provider.close()
        assert (await world.provider.complete(CALL)).text == "echo: Say hello"

    check(body)


def test_many_calls_at_once_do_not_mix_their_answers(check):
    async def body(world):
        calls = [structs.replace(CALL, turns=(Turn("user", f"number {n}"),)) for n in range(20)]
        found = await asyncio.gather(*(world.provider.complete(call) for call in calls))
        assert [each.text for each in found] == [f"echo: number {n}" for n in range(20)]

    check(body)


def test_what_it_gives_survives_the_wire(check):
    async def body(world):
        world.fake.script(Answer("x", tools=(("add", {"a": 1}),)))
        found = await world.provider.complete(structs.replace(CALL, tools=(tool_spec(add),)))
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=Completion) == found
        assert found.tool_calls[0] == ToolCall(found.tool_calls[0].id, "add", {"a": 1})

    check(body)
