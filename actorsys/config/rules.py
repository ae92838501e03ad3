"""Which values of the right type are still wrong? One rule for each field: it answers with what is wrong, or None."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from ..names import NAME_RULE, is_name
from ..spec import (
    MAX_PAYLOAD,
    AgentSpec,
    BudgetSpec,
    GroupSpec,
    LlmSpec,
    MailboxSpec,
    NatsSpec,
    PriceSpec,
    RateSpec,
    RestartSpec,
    SupervisorSpec,
)
from .problems import hint, shown

Rule = Callable[[Any], str | None]

BUILT_INS = {
    "generic": "actorsys.agents.generic:Generic",
    "summarizer": "actorsys.agents.summarizer:Summarizer",
    "workflow_coordinator": "actorsys.agents.workflow:WorkflowCoordinator",
    "ooda": "actorsys.agents.ooda:Ooda",
}
BACKENDS = ("in_memory", "file", "sqlite", "nats_kv")
_NATS_URL = re.compile(r"(nats|tls|ws|wss)://[^\s,]+|[^\s,/:]+(:\d+)?")


def is_path(text: str) -> bool:
    """Whether `text` has the form `module:Class`.

    >>> is_path("shop.agents:Counter"), is_path("shop.agents.Counter")
    (True, False)
    """
    module, colon, name = text.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *name.split(".")))


def at_least(least: int) -> Rule:
    return lambda value: None if least <= value < math.inf else f"must be {least} or more, not {shown(value)}"


def _more_than_nothing(value: float) -> str | None:
    return None if value > 0 else "must be more than 0"


def _type(text: str) -> str | None:
    if is_path(text) or text in BUILT_INS:
        return None
    if "<locals>" in text:
        return f"{text.partition(':')[2]} is defined inside a function; other processes can only import a class of a module"
    return f'{shown(text)} is neither "module:Class" nor a built-in{hint(text, BUILT_INS)}'


def _memory(text: str) -> str | None:
    if text in BACKENDS or is_path(text):
        return None
    return f'{shown(text)} is not one of {", ".join(BACKENDS)}, nor "module:Class"{hint(text, BACKENDS)}'


def _exit_codes(codes: tuple[int, ...]) -> str | None:
    wrong = [code for code in codes if not 0 <= code <= 255]
    return f"an exit code is 0 to 255, not {wrong[0]}" if wrong else None


def _env(table: Mapping[str, str]) -> str | None:
    for name, value in table.items():
        if not name or "=" in name or "\0" in name + value:
            return f"{shown(name)} cannot be set in an environment"
    return None


def _nats_url(text: str) -> str | None:
    wrong = [url for url in text.split(",") if not _NATS_URL.fullmatch(url.strip())] if text.strip() else []
    # Not shown: a URL may hold a password.
    return "is not a NATS URL; write it as nats://host:4222 (or tls, ws, wss)" if wrong else None


def name_rule(text: str) -> str | None:
    return None if is_name(text) else f"{shown(text)} is not a name: {NAME_RULE}"


def _payload(value: int) -> str | None:
    return None if 0 < value <= MAX_PAYLOAD else "must be more than 0 and at most 16MiB"


def _not_empty(text: str) -> str | None:
    return None if text.strip() and "\0" not in text else "must not be empty"


RULES: dict[type[Struct], dict[str, Rule]] = {
    AgentSpec: {
        "type": _type,
        "replicas": at_least(1),
        "concurrency": at_least(1),
        "memory": _memory,
        "env": _env,
        "start_timeout": _more_than_nothing,
        "hang_timeout": _more_than_nothing,
    },
    RestartSpec: {
        "max_restarts": at_least(0),
        "window": _more_than_nothing,
        "jitter": at_least(0),
        "exit_ok": _exit_codes,
    },
    MailboxSpec: {
        "size": at_least(1),
        "bytes": _more_than_nothing,
        "window": at_least(1),
        "max_deliveries": at_least(1),
    },
    GroupSpec: {"max_restarts": at_least(0), "window": _more_than_nothing},
    LlmSpec: {"max_tokens": at_least(1), "temperature": at_least(0), "timeout": _more_than_nothing},
    RateSpec: {"requests": at_least(0), "per": _more_than_nothing},
    BudgetSpec: {"tokens": at_least(0), "usd": at_least(0), "window": _more_than_nothing},
    PriceSpec: {"input": at_least(0), "output": at_least(0)},
    NatsSpec: {
        "url": _nats_url,
        "connect_timeout": _more_than_nothing,
        "ping_interval": _more_than_nothing,
        "ping_timeout": _more_than_nothing,
    },
    SupervisorSpec: {
        "name": name_rule,
        "max_restarts": at_least(0),
        "max_children": at_least(0),
        "window": _more_than_nothing,
        "mailbox_bytes": _more_than_nothing,
        "max_payload": _payload,
        "state_dir": _not_empty,
    },
}
