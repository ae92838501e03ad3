"""The short form of `make fuzz`: each edge takes damaged bytes, or refuses them with BadMessage; never anything else."""

import random
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[2] / "scripts"))
import fuzz

INPUTS = 150


@pytest.mark.parametrize("edge", fuzz.EDGES)
def test_damaged_bytes_are_refused_in_a_typed_way(edge):
    for number in range(INPUTS):
        fuzz.check_quietly(edge, fuzz.made(edge, random.Random(f"{edge} {number}")))


@pytest.mark.parametrize("edge", fuzz.EDGES)
@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused_in_a_typed_way(edge, data):
    fuzz.check_quietly(edge, data)


@pytest.mark.parametrize("edge", ["framing", "frame", "payload"])
def test_what_is_refused_costs_at_most_twice_its_size(edge):
    for number in range(20):
        fuzz.check_memory(edge, fuzz.made(edge, random.Random(f"{edge} {number}")))
    fuzz.check_memory(edge, b"\x91" * 10**6)


def test_an_error_that_is_none_of_ours_is_reported_with_its_input(monkeypatch):
    monkeypatch.setitem(fuzz.EDGES, "frame", lambda data: 1 / 0)
    with pytest.raises(fuzz.Broken, match="frame: ZeroDivisionError"):
        fuzz.check("frame", b"")
