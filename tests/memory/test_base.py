from pathlib import Path

import pytest

from actorsys import ConfigError
from actorsys.config.rules import BACKENDS
from actorsys.memory.base import BUILT_IN, Memory, MemoryContext, create
from actorsys.memory.file import File
from actorsys.memory.in_memory import InMemory
from actorsys.memory.nats_kv import NatsKv
from actorsys.memory.sqlite import Sqlite


def context(folder, **more):
    return MemoryContext(name="counter", folder=folder, **more)


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("in_memory", InMemory),
        ("file", File),
        ("sqlite", Sqlite),
        ("nats_kv", NatsKv),
        ("actorsys.memory.sqlite:Sqlite", Sqlite),
    ],
)
def test_a_backend_is_made_by_name_or_path_and_touches_no_file(tmp_path, name, cls):
    memory = create(name, context(tmp_path / "agents", nats={"urls": ["nats://127.0.0.1:1"]}))
    assert type(memory) is cls
    assert isinstance(memory, Memory)
    assert list(Path(tmp_path).iterdir()) == []


def test_the_built_in_names_are_those_that_agents_toml_knows():
    assert tuple(BUILT_IN) == BACKENDS


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sqlit", "Did you mean 'sqlite'?"),
        ("", "is no backend"),
        ("no_such_module:A", "No module named 'no_such_module'"),
        ("actorsys.memory.sqlite:Sqlit", "has no attribute 'Sqlit'"),
        ("actorsys.memory.base:MemoryContext", "is no backend"),
        ("nats_kv", "needs a NATS connection"),
    ],
)
def test_a_name_that_is_no_backend_is_a_config_error(tmp_path, name, text):
    with pytest.raises(ConfigError, match="memory = ") as caught:
        create(name, context(tmp_path))
    assert text in caught.value.message
    assert caught.value.where == "memory"


def test_what_a_class_lacks_to_be_a_backend_is_named(tmp_path, monkeypatch):
    (tmp_path / "half_memory.py").write_text(
        "class Half:\n    is_durable = False\n    def __init__(self, context): pass\n    async def open(self, run): pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="it has no clear, close, commit, confirmed, delete, list_keys, peek, "):
        create("half_memory:Half", context(tmp_path))
