import pytest

from actorsys import BadModelCall, ModelAuthError, ModelUnavailable
from actorsys.llm.model_errors import cannot_do_schemas, model_error, redact, retry_after_in


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (None, "overloaded_error", ModelUnavailable),
        (200, "rate_limit_error", ModelUnavailable),
        (None, "", ModelUnavailable),
        (None, "server_error", ModelUnavailable),
        (None, "authentication_error", ModelAuthError),
        (None, "invalid_request_error", BadModelCall),
        (429, "insufficient_quota", ModelAuthError),
        (400, "billing_error", ModelAuthError),
        (405, "", BadModelCall),
        (599, "", ModelUnavailable),
    ],
)
def test_the_word_decides_where_the_status_does_not(status, kind, expected):
    error = model_error("openai", "tiny", status, kind, "oh")
    assert type(error) is expected
    assert error.status == (None if status == 200 else status)


def test_a_long_text_of_a_provider_is_cut_and_holds_no_key():
    error = model_error("openai", "tiny", 400, "", "secret-key " * 200, secrets=("secret-key",))
    assert len(error.message) < 700
    assert "secret-key" not in error.message


@pytest.mark.parametrize(
    "text",
    ["sk-proj-abcdef123456", "sk-ab****wxyz", "http://user:pass@host/v1", "Authorization: Bearer abc.def-ghi", "mine"],
)
def test_what_is_or_looks_like_a_key_is_hidden(text):
    shown = redact(f"see {text} there", "mine")
    assert "***" in shown
    for secret in ("abcdef", "wxyz", "pass", "abc.def", "mine"):
        assert secret not in shown


def test_ordinary_words_are_left_alone():
    text = "the task-list of risk-averse models at http://127.0.0.1:1234/v1 is empty"
    assert redact(text, "") == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Please try again in 6m0s.", 360.0),
        ("try again in 1.5s", 1.5),
        ("retry after 2 seconds", 2.0),
        ("Try again in 1h2m", 3720.0),
    ],
)
def test_a_wait_is_read_from_the_text(text, seconds):
    assert retry_after_in(text) == seconds


def test_only_a_refused_schema_says_that_the_server_has_none():
    def refused(text, status=400):
        return cannot_do_schemas(model_error("openai", "tiny", status, "", text))

    assert refused("This response_format type is unavailable now")
    assert refused("output_config: Extra inputs are not permitted", 422)
    assert not refused("Invalid schema for response_format 'answer': root has no type")
    assert not refused("context too long")
    assert not refused("response_format", 500)


def test_the_word_of_a_provider_is_cut_and_holds_no_key():
    error = model_error("openai", "tiny", None, "secret-key " * 200, "oh", secrets=("secret-key",))
    assert len(error.message) < 250
    assert "secret-key" not in error.message


@pytest.mark.parametrize("kind", ["", "odd\r\nword\x1b[2J"])
def test_what_a_provider_says_is_one_line_that_moves_no_cursor(kind):
    error = model_error("openai", "tiny", None, kind, "\x1b[31mRED\r\nERROR a line\x07\u202e of\u2028 ours")
    assert "[31mRED ERROR a line of ours" in error.message
    assert error.message.isprintable()


def test_a_wait_without_end_is_none():
    assert model_error("openai", "tiny", 429, "", f"try again in {'9' * 400}s").retry_after is None
