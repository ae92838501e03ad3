"""After a power loss at any step the file backend has what was acknowledged, in every state that the disk may be in."""

import pytest
from power import harm_bytes, lose_power
from scenario import InPlace, NoFileSync, NoFolderSync

from actorsys.memory import document, file
from actorsys.memory.file import File


def test_a_restart_finds_every_acknowledged_commit(tmp_path):
    tried, wrong = lose_power(File, tmp_path, 4)
    assert wrong == []
    assert tried > 30


def test_each_changed_byte_is_noticed(tmp_path):
    tried, wrong = harm_bytes(File, tmp_path, 2)
    assert wrong == []
    assert tried > 300


# --- the model itself: a planted mistake must be found


@pytest.mark.parametrize("backend", [InPlace, NoFileSync, NoFolderSync])
def test_a_backend_with_a_mistake_is_caught(tmp_path, backend):
    assert lose_power(backend, tmp_path, 3)[1]


def test_a_missing_checksum_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(file, "parse", lambda data: document.content(data.partition(b"\n")[2]))
    assert harm_bytes(File, tmp_path, 2)[1]
