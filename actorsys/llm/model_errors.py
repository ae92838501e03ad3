"""Which of our errors a provider's failure is, by its HTTP status or its own word for it, in a text that shows no key. Pure."""

import math
import re
from typing import Any

from ..errors import BadModelCall, ModelAuthError, ModelError, ModelUnavailable

_AUTH = {401, 402, 403}
_PASSING = {408, 409, 425, 429}
# Words of the providers, for errors without a status of their own and for those whose status says too little.
_AUTH_WORDS = re.compile(r"insufficient_quota|billing|authentication|permission|invalid_api_key|credit")
_CALL_WORDS = re.compile(r"invalid_request|invalid_prompt|not_found|too_large|context_length|unsupported")
_SCHEMA_WORDS = re.compile(r"response_format|json_schema|text\.format|output_config")
_AGAIN = re.compile(
    r"(?:try again|retry) (?:in|after) ((?:\d+(?:\.\d+)?\s*(?:ms|milliseconds?|h|m|s|minutes?|seconds?)\s*)+)", re.IGNORECASE
)
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|milli|h|m|s)", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "milli": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_KEY = re.compile(r"\b(?:sk|pk|rk)-[\w*-]{4,}|(?<=//)[^/@\s]+@|(?i:bearer)\s+[\w.~+/=-]{8,}")
_TEXT_MAX = 500  # characters of what a provider says that are passed on
_KIND_MAX = 80


def redact(text: str, *secrets: str) -> str:
    """The text without these keys, and without what looks like one.

    >>> redact("key abc123 in http://me:pw@host, also sk-proj-9*****9", "abc123")
    'key *** in http://***host, also ***'
    """
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return _KEY.sub("***", text)


def one_line(text: str, *secrets: str) -> str:
    """What a provider says, as it may stand in a log: redacted, without line breaks and what moves a cursor.

    >>> one_line("no\\r\\nERROR \\x1b[31mfor abc123", "abc123")
    'no ERROR [31mfor ***'
    """
    return redact("".join(char for char in " ".join(text.split()) if char.isprintable()), *secrets)


def seconds_or_none(value: Any) -> float | None:
    """A wait that a provider asks for, if it is one.

    >>> [seconds_or_none(value) for value in ("1.5", 2, "soon", float("nan"), 10**400, -1, None)]
    [1.5, 2.0, None, None, None, None, None]
    """
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def model_error(
    provider: str,
    model: str,
    status: int | None,
    kind: str,
    message: str,
    *,
    retry_after: float | None = None,
    secrets: tuple[str, ...] = (),
) -> ModelError:
    """Of an error answer. `kind` is the provider's word for it; without a status, or with 200, that decides."""
    said = one_line(message, *secrets)[:_TEXT_MAX].rstrip(".") or "no reason given"
    kind = one_line(kind, *secrets)[:_KIND_MAX]
    status = None if status == 200 else status
    where = f"{provider} ({f'status {status}' if status else kind or 'in its answer'})"
    what: dict[str, Any] = {"provider": provider, "model": model, "status": status}
    if status in _AUTH or (status in (None, 400, 429) and _AUTH_WORDS.search(kind)):
        return ModelAuthError(f"{where} does not let us use model {model!r}: {said}. Check the key and its account.", **what)
    passes = status in _PASSING or status >= 500 if status is not None else not _CALL_WORDS.search(kind)
    if passes:
        after = retry_after if retry_after is not None else seconds_or_none(retry_after_in(message))
        again = f" Try again in {after:g} s." if after is not None else ""
        return ModelUnavailable(f"{where} cannot answer for model {model!r} now: {said}.{again}", **what, retry_after=after)
    return BadModelCall(f"{where} refuses this call of model {model!r}: {said}. The same call never works.", **what)


def cannot_do_schemas(error: ModelError) -> bool:
    """Whether a server refused a call because it cannot be held to a schema; a schema that it finds wrong is another matter."""
    text = error.message.lower()
    return error.status in (400, 422) and _SCHEMA_WORDS.search(text) is not None and "invalid schema" not in text


def retry_after_in(text: str) -> float | None:
    """The seconds that a text tells us to wait.

    >>> retry_after_in("Rate limit reached. Please try again in 1m30.5s. Visit ..."), retry_after_in("try again in 20ms"), retry_after_in("no")
    (90.5, 0.02, None)
    """
    found = _AGAIN.search(text)
    if found is None:
        return None
    return sum(float(number) * _SECONDS[unit.lower()] for number, unit in _PART.findall(found[1]))
