import functools
import threading
from datetime import UTC, datetime
from typing import Any, Optional

import pytest

from actorsys.comms.handlers import Method, current, method
from actorsys.messages import Message

MESSAGE = Message(id="1", sender="a", to="b", type="", payload="hello", metadata={}, timestamp=datetime(2026, 1, 2, tzinfo=UTC))


class Owner:
    attribute = 3

    def sync(self, message: str) -> Any:
        return message, threading.current_thread() is threading.main_thread(), current.get()

    async def coroutine(self, message: str) -> Any:
        return message, threading.current_thread() is threading.main_thread(), current.get()

    def whole(self, message: Message) -> Any:
        return message

    async def quoted(self, message: "Message") -> Any:
        return message

    def unknown(self, message: "Optional[Nowhere]") -> Any:  # type: ignore[name-defined]  # noqa: F821, UP045
        return message

    def passes_on(self, message: str) -> Any:
        return self.coroutine(message)

    def stops(self, message: str) -> Any:
        raise StopIteration(3)

    partial = functools.partialmethod(sync)

    class Callable:
        async def __call__(self, message: str) -> str:
            return message

    called = Callable()


def test_a_sync_method_runs_in_a_thread_and_knows_its_message(run: Any) -> None:
    content, is_main, seen = run(lambda: Method(Owner().sync)(MESSAGE))
    assert (content, is_main, seen) == ("hello", False, MESSAGE)


def test_an_async_method_runs_on_the_loop(run: Any) -> None:
    content, is_main, seen = run(lambda: Method(Owner().coroutine)(MESSAGE))
    assert (content, is_main, seen) == ("hello", True, MESSAGE)
    assert current.get() is None


@pytest.mark.parametrize("name", ["whole", "quoted"])
def test_a_parameter_annotated_with_message_gets_all_of_it(run: Any, name: str) -> None:
    assert run(lambda: method(Owner(), name)(MESSAGE)) is MESSAGE  # type: ignore[misc]


def test_a_hook_of_ours_gets_all_of_it(run: Any) -> None:
    content, _, _ = run(lambda: method(Owner(), "sync", whole=True)(MESSAGE))  # type: ignore[misc]
    assert content is MESSAGE


@pytest.mark.parametrize("name", ["unknown", "called"])
def test_other_callables_get_the_content(run: Any, name: str) -> None:
    assert run(lambda: method(Owner(), name)(MESSAGE)) == "hello"  # type: ignore[misc]


def test_a_partial_method_and_one_that_returns_a_coroutine_work_too(run: Any) -> None:
    assert run(lambda: method(Owner(), "partial")(MESSAGE))[0] == "hello"  # type: ignore[misc]
    assert run(lambda: method(Owner(), "passes_on")(MESSAGE))[:2] == ("hello", True)  # type: ignore[misc]


def test_what_a_future_cannot_hold_is_an_error_and_no_endless_wait(run: Any) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        run(lambda: method(Owner(), "stops")(MESSAGE))  # type: ignore[misc]


def test_no_method_is_none() -> None:
    assert method(Owner(), "missing") is None
    assert method(Owner(), "attribute") is None
