"""Subjects are exactly those of the scheme, and nothing else gets through."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsys.bus import subjects
from actorsys.errors import BadMessage
from actorsys.names import NAME

names = st.from_regex(NAME, fullmatch=True)


@given(names, names)
def test_every_name_gives_valid_subjects_of_fixed_depth(one: str, two: str) -> None:
    for subject, depth in (
        (subjects.direct(one), 3),
        (subjects.request(one), 3),
        (subjects.handoff(one, two), 5),
        (subjects.queue(one), 2),
    ):
        assert subjects.check_subject(subject) == subject
        assert len(subject.split(".")) == depth
    assert subjects.matches("agents.handoff.*.to.*", subjects.handoff(one, two))


@pytest.mark.parametrize("name", ["", "a.b", "*", ">", "a b", "1a", "ä", "a" * 64, "a\n"])
def test_what_is_no_name_gives_no_subject(name: str) -> None:
    with pytest.raises(BadMessage) as caught:
        subjects.direct(name)
    assert caught.value.field == "name"


@given(st.text(max_size=300))
def test_any_text_is_a_subject_or_a_bad_message(text: str) -> None:
    with suppress(BadMessage):
        subjects.check_subject(text)
        assert text.isascii()
        assert text.isprintable()
        assert not set(text) & set(" *>")
        assert all(text.split("."))
        assert len(text) <= 255
        assert subjects.check_pattern(text) == text


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("a", "a", True),
        ("a", "a.b", False),
        ("a.b", "a", False),
        ("*", "a", True),
        ("*", "a.b", False),
        ("*.b", "a.b", True),
        ("a.*.c", "a.b.c", True),
        ("a.*.c", "a.b.d", False),
        (">", "a", True),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        ("a.*.>", "a.b", False),
    ],
)
def test_matching(pattern: str, subject: str, expected: bool) -> None:
    assert subjects.matches(pattern, subject) is expected
