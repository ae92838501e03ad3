import os
import stat
import tempfile
from pathlib import Path

import pytest

from actorsys.config.paths import SOCKET_PATH_BYTES, control_socket, private_directory
from actorsys.errors import ConfigError


def test_the_socket_stands_in_the_state_directory():
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # pytest's own may be too long already
        assert control_socket(Path(short)) == Path(short).resolve() / "control.sock"


def test_a_long_path_is_replaced_by_a_short_one_that_is_always_the_same(tmp_path):
    long = tmp_path / ("x" * 100)
    path = control_socket(long)
    assert len(os.fsencode(path)) <= SOCKET_PATH_BYTES
    assert path == control_socket(long)
    assert path != control_socket(tmp_path / ("y" * 100))
    assert path.parent.name == f"actorsys-{os.getuid()}"


def test_a_private_directory_is_closed_to_others(tmp_path):
    (tmp_path / "open").mkdir(mode=0o755)
    for name in ("new", "open"):
        assert stat.S_IMODE(private_directory(tmp_path / name).stat().st_mode) == 0o700


def test_a_file_is_no_private_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be used as a directory"):
        private_directory(tmp_path / "file")
