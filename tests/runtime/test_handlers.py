import typing
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from actorsys import Agent, DefinitionError, Event, Request, on
from actorsys.messages import type_id


class Add(Request[int]):
    n: int


class Untyped(Request):
    pass


class Nothing(Request[None]):
    pass


class Reset(Event):
    pass


def names(cls):
    return {handler.type.__name__: name for name, handler in ((one.name, one) for one in cls.__handlers__.values())}


def test_handlers_are_found_by_annotation_when_the_class_is_made():
    class Counter(Agent):
        @on
        async def add(self, msg: Add) -> int: ...
        @on
        def reset(self, msg: Reset) -> None: ...
        @on(thread=True)
        def slow(self, msg: Untyped) -> str: ...
        @on
        async def nothing(self, message: Nothing) -> None: ...

        def no_handler(self, msg: Add) -> int: ...

    assert names(Counter) == {"Add": "add", "Reset": "reset", "Untyped": "slow", "Nothing": "nothing"}
    table = Counter.__handlers__
    assert (table[type_id(Add)].is_async, table[type_id(Reset)].is_async) == (True, False)
    assert (table[type_id(Untyped)].in_thread, table[type_id(Add)].in_thread) == (True, False)
    assert table[type_id(Add)].reply is int


def test_an_async_generator_streams_the_reply_that_its_request_names():
    class Counter(Agent):
        @on
        async def add(self, msg: Add) -> AsyncIterator[int]:
            yield 1

        @on
        async def any(self, msg: Untyped) -> AsyncGenerator[str, None]:
            yield ""

        @on
        async def nothing(self, msg: Nothing) -> typing.AsyncIterator[None]:
            yield None

    assert [handler.is_stream for handler in Counter.__handlers__.values()] == [True] * 3


def test_a_stream_cannot_run_in_a_thread():
    with pytest.raises(DefinitionError, match="is async and cannot run in a thread"):

        class Counter(Agent):
            @on(thread=True)
            async def add(self, msg: Add) -> AsyncIterator[int]:
                yield 1


def test_handlers_are_inherited_overridden_and_taken_away():
    class Base(Agent):
        @on
        async def add(self, msg: Add) -> int: ...
        @on
        async def reset(self, msg: Reset) -> None: ...

    class Child(Base):
        @on
        async def add(self, other: Nothing) -> None: ...

        reset = None

    class Mixin:
        @on
        async def mixed(self, msg: Reset) -> None: ...

    class Mixed(Mixin, Agent):
        pass

    assert names(Child) == {"Nothing": "add"}
    assert names(Mixed) == {"Reset": "mixed"}
    assert names(Base) == {"Add": "add", "Reset": "reset"}


async def none(self): ...
async def two(self, msg: Add, more: int) -> int: ...
async def unannotated(self, msg) -> int: ...
async def of_int(self, msg: int) -> int: ...
async def of_event(self, msg: Event) -> None: ...
async def wrong_reply(self, msg: Add) -> str: ...
async def no_reply(self, msg: Add): ...
async def event_reply(self, msg: Reset) -> int: ...
async def unknown(self, msg: "NoSuchType") -> int: ...  # noqa: F821  # that is the mistake
async def stream(self, msg: Add) -> int:
    yield 1


async def silent_stream(self, msg: Add):
    yield 1


async def stream_of_text(self, msg: Add) -> AsyncIterator[str]:
    yield "1"


async def event_stream(self, msg: Reset):
    yield 1


async def typed_event_stream(self, msg: Reset) -> AsyncIterator[int]:
    yield 1


WRONG = [
    (none, "must take exactly one argument besides self"),
    (two, "must take exactly one argument besides self"),
    (unannotated, "must annotate 'msg' with a subclass of Event or of Request"),
    (of_int, "must annotate 'msg'"),
    (of_event, "must annotate 'msg'"),
    (wrong_reply, "returns str, but Add asks for int"),
    (no_reply, "must say what it returns: Add asks for int"),
    (event_reply, "returns int, but Reset is an Event and has no reply"),
    (unknown, "message types must be known where the class is made"),
    (stream, "yields, so it returns AsyncIterator[int], not int"),
    (silent_stream, "must say what it returns: Add asks for int"),
    (stream_of_text, "yields str, but Add asks for int"),
    (event_stream, "yields, but Reset is an Event and has no reply"),
    (typed_event_stream, "returns AsyncIterator, but Reset is an Event and has no reply"),
]


@pytest.mark.parametrize(("function", "text"), WRONG, ids=[function.__name__ for function, _ in WRONG])
def test_a_handler_that_cannot_work_is_an_error_with_file_and_line(function, text):
    with pytest.raises(DefinitionError) as caught:
        type("Bad", (Agent,), {function.__name__: on(function)})
    assert text in caught.value.message
    assert f"Bad.{function.__name__}()" in caught.value.message
    assert caught.value.where == f"{__file__}:{function.__code__.co_firstlineno}"


def test_an_async_handler_cannot_run_in_a_thread():
    with pytest.raises(DefinitionError, match="is async and cannot run in a thread"):

        class Bad(Agent):
            @on(thread=True)
            async def add(self, msg: Add) -> int: ...


def test_a_type_has_one_handler():
    with pytest.raises(DefinitionError, match=r"one\(\) and two\(\) both take Add"):

        class Bad(Agent):
            @on
            async def one(self, msg: Add) -> int: ...
            @on
            async def two(self, msg: Add) -> int: ...
