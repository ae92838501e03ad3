from pathlib import Path

import pytest

from actorsys import ConfigError
from actorsys.memory.base import BUILT_IN, Memory, create
from actorsys.memory.in_memory import InMemory
from actorsys.memory.sqlite import Sqlite


@pytest.mark.parametrize(
    ("name", "cls"), [("in_memory", InMemory), ("sqlite", Sqlite), ("actorsys.memory.sqlite:Sqlite", Sqlite)]
)
def test_a_backend_is_made_by_name_or_path(tmp_path, name, cls):
    memory = create(name, "counter", tmp_path)
    assert type(memory) is cls
    assert isinstance(memory, Memory)


@pytest.mark.parametrize("name", BUILT_IN)
def test_making_one_touches_no_file(tmp_path, name):
    create(name, "counter", tmp_path / "agents")
    assert list(Path(tmp_path).iterdir()) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sqlit", "Did you mean 'sqlite'?"),
        ("", "is no backend"),
        ("no_such_module:A", "No module named 'no_such_module'"),
        ("actorsys.memory.sqlite:Sqlit", "has no attribute 'Sqlit'"),
    ],
)
def test_a_name_that_is_no_backend_is_a_config_error(tmp_path, name, text):
    with pytest.raises(ConfigError, match="memory = ") as caught:
        create(name, "counter", tmp_path)
    assert text in caught.value.message
    assert caught.value.where == "memory"
