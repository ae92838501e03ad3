"""What may an agent be called, and what was probably meant?

A name is what a user types: `Weather-Bot`. Its token is the one NATS subject level made of it: `weather_bot`.
A replica is one process of several behind a name: `counter/0`.
"""

import difflib
import re
from collections.abc import Iterable

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
NAME_RULE = "a letter, then up to 62 letters, digits, '_' or '-'"


def is_name(text: str) -> bool:
    """Whether `text` can name an agent.

    >>> is_name("Weather-Bot"), is_name("a.b"), is_name("")
    (True, False, False)
    """
    return NAME.fullmatch(text) is not None


def token(name: str) -> str:
    """The NATS subject token of a name; two names with one token cannot live on one node.

    >>> token("Weather-Bot")
    'weather_bot'
    """
    return name.lower().replace("-", "_")


def replica(name: str, index: int) -> str:
    """The name of the n-th process behind a name.

    >>> replica("counter", 2)
    'counter/2'
    """
    return f"{name}/{index}"


def base(name: str) -> str:
    """The name without its replica.

    >>> base("counter/2"), base("counter")
    ('counter', 'counter')
    """
    return name.partition("/")[0]


def nearest(text: str, known: Iterable[str]) -> str | None:
    """The known word that `text` most likely stands for, or None.

    >>> nearest("sumarizer", ["summarizer", "counter"])
    'summarizer'
    """
    words = {word.lower(): word for word in known}
    close = difflib.get_close_matches(text.lower(), words, n=1, cutoff=0.6)
    return words[close[0]] if close else None


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or nothing when no known word is near."""
    word = nearest(text, known)
    return f" Did you mean {word!r}?" if word else ""
