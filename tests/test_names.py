"""Names that people type, and the tokens made of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsys.names import NAME, base, did_you_mean, is_name, nearest, replica, token

NAMES = st.from_regex(NAME, fullmatch=True)


@pytest.mark.parametrize("text", ["a", "Weather-Bot", "counter_2", "x" * 63])
def test_a_letter_then_letters_digits_and_dashes_is_a_name(text: str) -> None:
    assert is_name(text)


@pytest.mark.parametrize(
    "text", ["", "2fast", "-x", "_x", "a.b", "a b", "a/0", "a*", "a>", "x" * 64, "caf\u00e9", "a\n", "\uff41"], ids=ascii
)
def test_what_could_not_be_a_subject_or_a_file_is_no_name(text: str) -> None:
    assert not is_name(text)


@given(NAMES)
def test_a_token_is_one_subject_level_and_its_own_token(name: str) -> None:
    assert not set(token(name)) & set(".*> -")
    assert token(name) == token(name).lower()
    assert token(token(name)) == token(name)


def test_names_that_differ_in_case_or_dashes_only_share_a_token() -> None:
    assert token("Weather-Bot") == token("weather_bot") == "weather_bot"


@given(NAMES, st.integers(min_value=0, max_value=10_000))
def test_a_replica_knows_its_name(name: str, index: int) -> None:
    assert base(replica(name, index)) == name
    assert not is_name(replica(name, index))


@given(NAMES)
def test_a_name_without_a_replica_is_its_own_base(name: str) -> None:
    assert base(name) == name


def test_a_near_miss_is_recognised_in_any_case() -> None:
    assert nearest("SUMARIZER", ["counter", "Summarizer"]) == "Summarizer"
    assert did_you_mean("sumarizer", ["summarizer"]) == " Did you mean 'summarizer'?"


def test_nothing_is_suggested_when_nothing_is_near() -> None:
    assert nearest("zebra", ["counter", "summarizer"]) is None
    assert did_you_mean("zebra", ["counter"]) == ""
    assert did_you_mean("zebra", []) == ""
