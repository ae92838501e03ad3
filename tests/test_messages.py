"""Message types, their names on the wire and the types of their replies."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
import pytest

from actorsys.messages import Event, Message, Request, real_module, reply_type, type_id

T = TypeVar("T")


class Reset(Event):
    pass


class Add(Request[int]):
    n: int


class AddTwice(Add):
    pass


class Names(Request[dict[str, list[int]]]):
    pass


class Maybe(Request[int | None]):
    pass


class Bare(Request):  # type: ignore[type-arg]  # what a user without a type checker writes
    pass


class Page(Request[list[T]], Generic[T]):
    number: int


class Outer:
    class Inner(Event):
        pass


@pytest.mark.parametrize(
    ("cls", "reply"),
    [(Add, int), (AddTwice, int), (Names, dict[str, list[int]]), (Maybe, int | None), (Bare, Any), (Reset, Any)],
)
def test_the_reply_type_is_the_parameter_of_request(cls: type, reply: object) -> None:
    assert reply_type(cls) == reply


def test_a_generic_reply_type_keeps_its_shape() -> None:
    assert getattr(reply_type(Page), "__origin__", None) is list


def test_the_type_id_is_module_and_qualified_name() -> None:
    assert type_id(Add) == f"{__name__}:Add"
    assert type_id(Outer.Inner) == f"{__name__}:Outer.Inner"


def test_a_module_by_its_own_name_is_itself() -> None:
    assert real_module("shop.agents") == "shop.agents"


def test_the_main_script_has_one_name_in_its_process_and_in_agents(tmp_path: Path) -> None:
    script = tmp_path / "hello.py"
    script.write_text("from actorsys.messages import real_module\nprint(real_module('__main__'), real_module('__mp_main__'))\n")
    assert subprocess.check_output([sys.executable, str(script)], text=True).split() == ["__main__", "__main__"]


def test_a_module_run_with_m_has_its_importable_name(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text("from actorsys.messages import real_module\nprint(real_module('__main__'))\n")
    code = f"import sys, runpy; sys.path.insert(0, {str(tmp_path)!r}); runpy.run_module('hello', run_name='__main__', alter_sys=True)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["hello"]


def test_messages_are_values() -> None:
    assert Add(n=2) == Add(n=2)
    assert len({Add(n=2), Add(n=2), Add(n=3)}) == 2
    with pytest.raises(AttributeError):
        Add(n=2).n = 3  # type: ignore[misc]


def test_messages_go_over_msgpack_and_are_checked_on_arrival() -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(Add(n=2)), type=Add) == Add(n=2)
    with pytest.raises(msgspec.ValidationError, match=r"Expected `int`, got `str` - at `\$.n`"):
        msgspec.msgpack.decode(msgspec.msgpack.encode({"n": "two"}), type=Add)


def test_what_receive_gets_has_the_documented_fields() -> None:
    message = Message(
        id="1", sender="a", to="b", type="", payload={"x": 1}, metadata={}, timestamp=datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert list(msgspec.structs.asdict(message)) == [
        "id", "sender", "to", "type", "payload", "metadata", "timestamp", "in_reply_to", "priority", "deadline",
    ]  # fmt: skip
    assert (message.priority, message.in_reply_to, message.deadline) == (3, None, None)


@pytest.mark.slow
def test_type_checkers_know_that_messages_are_frozen_and_what_ask_returns(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    source = tmp_path / "user.py"
    source.write_text(
        """
from typing import TypeVar

from actorsys import Event, Request

R = TypeVar("R")

class Reset(Event):
    pass

class Add(Request[int]):
    n: int
    twice: bool = False

def ask(message: Request[R]) -> R:
    raise NotImplementedError

total: int = ask(Add(n=2))
wrong: str = ask(Add(2, twice=True))
Add(n=2).n = 3
Add(m=2)
"""
    )
    out, _, _ = api.run(
        ["--strict", "--config-file=", f"--cache-dir={tmp_path / 'cache'}", "--follow-imports=silent", str(source)]
    )
    found = [line.partition("user.py:")[2].partition(":")[0] for line in out.splitlines() if "error:" in line]
    assert found == ["19", "20", "21"], out
