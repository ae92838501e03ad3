"""Durations and sizes as people write them."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsys.units import Bytes, Seconds, format_bytes, format_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("5s", 5), ("1.5s", 1.5), ("1m30s", 90), ("2h", 7200), ("1d", 86_400), ("1h1m1s1ms", 3661.001), ("0s", 0)],
)
def test_a_duration_in_text_is_read(text: str, seconds: float) -> None:
    assert Seconds.parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize("number", [0, 1, 2.5, 1e9])
def test_a_plain_number_is_seconds(number: float) -> None:
    assert Seconds.parse(number) == number


@pytest.mark.parametrize(
    "value", ["", "5", "s", "5 s", " 5s", "5s ", "-5s", "5sec", "5S", "1m 30s", "1..5s", ".5s", "5s!", "\u0665s\n", "1e3s", "inf"]
)
def test_any_other_text_is_no_duration_and_the_error_shows_how_to_write_one(value: str) -> None:
    with pytest.raises(ValueError, match='is not a duration; write "500ms"'):
        Seconds.parse(value)


@pytest.mark.parametrize("value", [None, True, False, [], {}, b"5s"])
def test_a_value_of_another_type_is_no_duration(value: object) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        Seconds.parse(value)


@pytest.mark.parametrize("number", [-1, -0.001, math.inf, -math.inf, math.nan])
def test_a_negative_or_endless_duration_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="from 0 up"):
        Seconds.parse(number)


@given(st.integers(min_value=0, max_value=10**12))
def test_milliseconds_in_text_come_back_as_they_were(milliseconds: int) -> None:
    assert round(Seconds.parse(f"{milliseconds}ms") * 1000) == milliseconds


@given(st.integers(0, 99), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_parts_of_a_duration_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    whole = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    assert Seconds.parse(f"{days}d{hours}h{minutes}m{seconds}s") == float(whole)


@given(st.integers(min_value=0, max_value=59 * 60 + 59))
def test_a_duration_for_people_can_be_read_again(seconds: int) -> None:
    assert Seconds.parse(format_seconds(seconds)) == float(seconds)


@given(st.text())
def test_no_text_makes_the_duration_parser_fail_otherwise(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert Seconds.parse(text) >= 0


def test_nanoseconds_are_whole() -> None:
    assert Seconds.parse("1.5s").ns == 1_500_000_000
    assert isinstance(Seconds(0.1).ns, int)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.25, "250ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (59, "59s"),
        (60, "1m"),
        (134, "2m14s"),
        (3600, "1h"),
        (7260, "2h1m"),
        (47 * 3600, "47h"),
        (48 * 3600, "2d"),
        (49 * 3600, "2d1h"),
    ],
)
def test_a_duration_is_shown_in_two_units_at_most(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [("16MiB", 16 * 2**20), ("64 KB", 64_000), ("1GiB", 2**30), ("1GB", 10**9), ("1.5KiB", 1536), ("7B", 7), ("7", 7), ("0", 0)],
)
def test_a_size_in_text_is_read(text: str, size: int) -> None:
    assert Bytes.parse(text) == size


@pytest.mark.parametrize(
    "value", ["", "MiB", "-1", "1mib", "1 M", "1  KB", " 1B", "1B ", "1.", "1e3", None, True, -1, 1.5, [], b"1B"]
)
def test_anything_else_is_no_size(value: object) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        Bytes.parse(value)


@given(st.integers(min_value=0, max_value=2**62))
def test_a_plain_number_is_bytes(size: int) -> None:
    assert Bytes.parse(size) == size


@given(st.integers(min_value=0, max_value=2**20), st.sampled_from(["KiB", "MiB", "GiB"]))
def test_a_size_for_people_can_be_read_again_within_its_rounding(count: int, unit: str) -> None:
    size = Bytes.parse(f"{count}{unit}")
    assert Bytes.parse(format_bytes(size)) == pytest.approx(size, rel=0.05)


@given(st.text())
def test_no_text_makes_the_size_parser_fail_otherwise(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert Bytes.parse(text) >= 0
