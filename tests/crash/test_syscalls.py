"""Killed, torn or refused at any call: what was acknowledged is there. Short form; `make crash` tries every point of a longer run."""

import pytest
from syscalls import FAULTS, crash

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("backend", ["file", "sqlite"])
def test_a_restart_finds_every_acknowledged_commit(shim, tmp_path, backend, fault):
    found = crash(shim, tmp_path, backend, fault, commits=5, step=2)
    assert found["wrong"] == []
    assert found["points"] > 10


# --- the harness itself: a planted mistake must be found


@pytest.mark.parametrize(
    ("backend", "fault"),
    [("in place", "kill"), ("in place", "torn"), ("in place", "full"), ("no journal", "kill"), ("no journal", "torn")],
)
def test_a_backend_that_writes_over_its_only_copy_is_caught(shim, tmp_path, backend, fault):
    assert crash(shim, tmp_path, backend, fault, commits=3, size=3000)["wrong"]
