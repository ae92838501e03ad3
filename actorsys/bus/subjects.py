"""Which NATS subject carries what, and is this text a subject at all?

    agents.all                      announcements, heartbeats, broadcasts
    agents.direct.{token}           messages for an agent        queue group agents.{token}
    agents.request.{token}          questions to an agent        queue group agents.{token}
    agents.handoff.{from}.to.{to}   record of a task handed over

No stream may capture `agents.request.>`: JetStream's own acknowledgement would reach the asker before the answer.
"""

import re
from functools import lru_cache

from ..errors import BadMessage
from ..names import NAME_RULE, base, is_name, token

ALL = "agents.all"
MAX_LENGTH = 255

# Stricter than the server, which takes any bytes but blanks: what we print, log and match is plain ASCII.
_SUBJECT = re.compile(r"(?:[!-)+\-/-=?-~]+\.)*[!-)+\-/-=?-~]+")
_PATTERN = re.compile(r"(?:(?:\*|[!-)+\-/-=?-~]+)\.)*(?:\*|>|[!-)+\-/-=?-~]+)")


def direct(name: str) -> str:
    """Where messages for an agent go.

    >>> direct("Weather-Bot"), direct("counter/2")
    ('agents.direct.weather_bot', 'agents.direct.counter')
    """
    return f"agents.direct.{_token(name)}"


def request(name: str) -> str:
    """Where questions to an agent go.

    >>> request("counter")
    'agents.request.counter'
    """
    return f"agents.request.{_token(name)}"


def handoff(sender: str, to: str) -> str:
    """Where the record of a handoff goes.

    >>> handoff("editor", "Fact-Checker")
    'agents.handoff.editor.to.fact_checker'
    """
    return f"agents.handoff.{_token(sender)}.to.{_token(to)}"


def queue(name: str) -> str:
    """The queue group that all processes behind one name share.

    >>> queue("counter/2")
    'agents.counter'
    """
    return f"agents.{_token(name)}"


@lru_cache(maxsize=4096)  # asked for each message; an answer from here takes 40 ns
def check_subject(subject: str) -> str:
    """Return a subject that can be published to; raise BadMessage if it is none.

    >>> check_subject("agents.all")
    'agents.all'
    """
    return _check(subject, _SUBJECT, "tokens of printable ASCII joined by dots, without '*' and '>'")


def check_pattern(subject: str) -> str:
    """Return a subject that can be subscribed to, wildcards allowed; raise BadMessage if it is none.

    >>> check_pattern("agents.handoff.*.to.me"), check_pattern("agents.>")
    ('agents.handoff.*.to.me', 'agents.>')
    """
    return _check(subject, _PATTERN, "tokens joined by dots, each plain text or '*', the last one may be '>'")


def matches(pattern: str, subject: str) -> bool:
    """Whether a subscription to `pattern` receives what is published to `subject`.

    >>> matches("agents.*", "agents.all"), matches("agents.>", "agents.direct.x"), matches("agents.>", "agents")
    (True, True, False)
    """
    if pattern == subject:
        return True
    wanted, given = pattern.split("."), subject.split(".")
    for index, part in enumerate(wanted):
        if part == ">":
            return len(given) > index
        if index >= len(given) or part not in ("*", given[index]):
            return False
    return len(wanted) == len(given)


@lru_cache(maxsize=4096)
def _token(name: str) -> str:
    if not is_name(base(name)):
        raise BadMessage(f"{name[:80]!r} cannot name an agent: write {NAME_RULE}.", field="name")
    return token(base(name))


def _check(subject: str, rule: re.Pattern[str], wanted: str) -> str:
    if len(subject) > MAX_LENGTH:
        raise BadMessage(f"a subject has at most {MAX_LENGTH} characters, this one {len(subject)}.", field="subject")
    if rule.fullmatch(subject) is None:
        raise BadMessage(f"{subject!r} is no subject: write {wanted}.", field="subject")
    return subject
