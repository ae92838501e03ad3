"""Errors keep their class, sentence and details on every way they travel."""

import inspect
import pickle
from typing import Any

import msgspec
import pytest

from actorsys import errors
from actorsys.errors import (
    BY_NAME,
    ActorError,
    AgentDown,
    AskTimeout,
    BudgetExceeded,
    DefinitionError,
    ModelError,
    RemoteError,
    UnknownAgent,
    Unreachable,
)
from actorsys.messages import Failure

DETAILS: dict[str, Any] = {
    "where": "agents.toml:12:3",
    "field": "n",
    "type": "ValueError",
    "traceback": 'Traceback (most recent call last):\n  File "x.py"',
    "reason": "killed",
    "may_have_run": False,
    "chain": ["a", "b", "a"],
    "key": "total",
    "name": "post",
    "provider": "openai",
    "model": "m",
    "status": 429,
    "retry_after": 1.5,
    "text": "half an ans",
    "budget": "agent writer",
    "resets_in": 60.0,
}
CLASSES = sorted(BY_NAME.values(), key=lambda cls: cls.__name__)

MODEL = [cls for cls in CLASSES if issubclass(cls, ModelError | BudgetExceeded)]


def full(cls: type[ActorError]) -> ActorError:
    """An error of the class with every detail set."""
    return cls("No agent is named 'x'.", **{name: DETAILS[name] for name in cls.details})


def details(error: ActorError) -> dict[str, Any]:
    return {name: getattr(error, name) for name in error.details}


def over_the_wire(failure: Failure) -> Failure:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(failure), type=Failure)


def test_every_error_of_the_module_is_in_the_table() -> None:
    defined = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, ActorError)}
    assert defined == set(BY_NAME)


def test_every_error_is_drawn_in_the_tree() -> None:
    assert all(name in (errors.__doc__ or "") for name in BY_NAME)


@pytest.mark.parametrize("cls", CLASSES)
def test_pickle_keeps_class_message_and_details(cls: type[ActorError]) -> None:
    error = full(cls)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert str(again) == again.message == error.message
    assert details(again) == details(error)


@pytest.mark.parametrize("cls", MODEL)
def test_what_an_agent_has_with_its_model_is_a_remote_error_to_who_asked_it(cls: type[ActorError]) -> None:
    again = over_the_wire(Failure.of(full(cls))).error()
    assert isinstance(again, RemoteError)
    assert (again.type, again.message) == (cls.__name__, f"{cls.__name__}: No agent is named 'x'.")


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if cls is not RemoteError and cls not in MODEL])
def test_a_failure_keeps_class_message_and_details(cls: type[ActorError]) -> None:
    error = full(cls)
    again = over_the_wire(Failure.of(error)).error()
    assert type(again) is cls
    assert again.message == error.message
    assert details(again) == details(error)


def test_details_that_were_not_given_are_none() -> None:
    error = AgentDown("gone")
    assert details(error) == {"reason": None, "may_have_run": None}
    assert details(over_the_wire(Failure.of(error)).error()) == {"reason": None, "may_have_run": None}


def test_a_detail_that_the_class_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match="UnknownAgent has no detail chain, where"):
        UnknownAgent("x", where="y", chain=[])


def test_an_exception_of_the_agent_becomes_a_remote_error_with_its_type_and_traceback() -> None:
    with pytest.raises(ValueError) as raised:
        int("three")
    error = over_the_wire(Failure.of(raised.value)).error()
    assert isinstance(error, RemoteError)
    assert error.type == "ValueError"
    assert error.message == "ValueError: invalid literal for int() with base 10: 'three'"
    assert "test_errors.py" in (error.traceback or "")


def test_a_remote_error_passed_on_names_the_first_cause_once() -> None:
    first = Failure.of(ValueError("bad")).error()
    again = Failure.of(first).error()
    assert isinstance(first, RemoteError)
    assert isinstance(again, RemoteError)
    assert (again.type, again.traceback) == (first.type, first.traceback)
    assert again.message == first.message


def test_without_traceback_nothing_of_the_code_is_told() -> None:
    assert Failure.of(ValueError("bad"), with_traceback=False).traceback == ""


def test_a_failure_of_a_kind_not_known_here_is_a_remote_error() -> None:
    error = Failure(kind="FromTheFuture", type="FromTheFuture", message="hello").error()
    assert isinstance(error, RemoteError)
    assert error.message == "FromTheFuture: hello"


def test_details_not_known_here_are_left_out() -> None:
    error = Failure(kind="AgentDown", type="AgentDown", message="gone", details={"reason": "killed", "colour": "red"}).error()
    assert details(error) == {"reason": "killed", "may_have_run": None}


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [(AskTimeout, TimeoutError), (UnknownAgent, LookupError), (Unreachable, ConnectionError), (DefinitionError, TypeError)],
)
def test_who_catches_the_builtin_error_catches_ours(cls: type[ActorError], builtin: type[Exception]) -> None:
    assert issubclass(cls, builtin)
    with pytest.raises(builtin):
        raise cls("x")
