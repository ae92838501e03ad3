from time import perf_counter

import pytest

from actorsys.bus.depth import is_deeper_than


@pytest.mark.parametrize(
    ("data", "depth"),
    [
        (b"", 0),
        (b"[]", 1),
        (b'{"a":[{}]}', 3),
        (b"[[],[],[]]", 2),
        (b'["[[[{"]', 1),
        (b'["\\"[[["]', 1),
        (b'["\\\\"[[', 3),
        (b"[[[", 3),
        (b"]]]", 0),
    ],
)
def test_depth_counts_brackets_outside_of_strings(data, depth):
    assert not is_deeper_than(depth, data)
    if depth:
        assert is_deeper_than(depth - 1, data)


@pytest.mark.parametrize(
    "data", [b"[" * 10**6, (b"[" * 64 + b"]" * 64) * 8000, b'"' * 10**6, b'"\\"' * 300_000, b'{"a":1},' * 10**5]
)
def test_a_megabyte_of_anything_is_looked_through_in_one_pass(data):
    start = perf_counter()
    is_deeper_than(64, data)
    assert perf_counter() - start < 2.0  # it is 0.03 s; with a pass for each level it was 1 s and more
