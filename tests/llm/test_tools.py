"""Whatever a tool takes and gives, the model is told text."""

import asyncio

import pytest
from msgspec import Struct

from actorsys import BadCompletion
from actorsys.llm.base import ToolCall
from actorsys.llm.tools import Toolbox


class Point(Struct):
    x: int
    y: int = 0


def run(tool, problem="", **arguments):
    return asyncio.run(Toolbox([tool]).run(ToolCall("1", tool.__name__, arguments, problem)))


def test_arguments_become_the_types_of_the_signature():
    def tool(point: Point, names: list[str], factor: float = 2.0) -> list:
        return [type(point).__name__, names, factor]

    assert run(tool, point={"x": 1}, names=["a"]) == '["Point",["a"],2.0]'


@pytest.mark.parametrize(
    ("result", "told"), [("text", "text"), (None, "null"), ({"a": 1}, '{"a":1}'), (Point(1, 2), '{"x":1,"y":2}')]
)
def test_a_result_is_told_as_text_or_json(result, told):
    def tool() -> object:
        return result

    assert run(tool) == told


def test_what_cannot_be_told_is_an_error_to_the_model():
    def tool() -> object:
        return object()

    assert run(tool).startswith("error: TypeError")


def test_a_method_is_a_tool():
    class Shop:
        async def price(self, of: str) -> int:
            return len(of)

    assert run(Shop().price, of="abc") == "3"


def test_arguments_that_could_not_be_read_are_told_why():
    def tool() -> str:
        return "never"

    assert run(tool, problem="the arguments are no JSON") == "error: the arguments are no JSON"


def test_a_cancelled_tool_is_cancelled():
    async def tool() -> str:
        await asyncio.sleep(30)
        return ""

    async def cancel():
        task = asyncio.ensure_future(Toolbox([tool]).run(ToolCall("1", "tool")))
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel())


def look(at: str) -> str:
    return at


def test_the_same_calls_of_one_answer_count_once():
    box = Toolbox([look])
    dice = [ToolCall(str(number), "look", {"at": "it"}) for number in range(5)]
    box.check(dice)
    box.check(dice)
    with pytest.raises(BadCompletion, match="'look' with the same arguments 3 times"):
        box.check(dice[:1])


def test_calls_that_could_not_be_read_for_other_reasons_are_not_the_same():
    box = Toolbox([look])
    for number in range(5):
        box.check([ToolCall("1", "look", problem=f"no JSON at byte {number}")])
    again = [ToolCall("1", "look", problem="no JSON at byte 1")]
    box.check(again)
    with pytest.raises(BadCompletion, match="3 times"):
        box.check(again)
