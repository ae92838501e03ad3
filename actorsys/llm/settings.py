"""How an agent reaches a model: what its supervisor tells it, and the provider that is made of that and the environment."""

import importlib.util
import logging
from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct

from ..errors import ConfigError
from .base import Provider
from .mock import MockProvider

log = logging.getLogger("actorsys.llm")

_KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
_URLS = {"openai": "OPENAI_BASE_URL", "anthropic": "ANTHROPIC_BASE_URL"}


class Profile(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One [llm.NAME] table as an agent is told it. There is no key in it: that comes from the agent's environment."""

    provider: Literal["mock", "openai", "anthropic"] = "mock"
    model: str = ""
    base_url: str = ""
    api: Literal["chat", "responses"] = "chat"
    max_tokens: int = 1024
    timeout: float = 60.0  # seconds, of one try
    temperature: float | None = None
    fallback: tuple[str, ...] = ()
    script: str = ""  # of the mock: a file of rules


def provider_for(profile: Profile, environ: Mapping[str, str]) -> Provider:
    """The provider of a profile. Without a key, and without a server of one's own, that is the mock: nothing else could answer.

    Raises ConfigError if the provider's SDK is not installed.
    """
    kind, base_url, key = _way(profile, environ)
    if kind == "mock":
        if profile.provider != "mock":
            log.warning("no %s and no base_url: provider %r is replaced by the mock", _KEYS[profile.provider], profile.provider)
        return MockProvider(profile.script or None)
    if importlib.util.find_spec(kind) is None:
        raise ConfigError(f"provider {kind!r} needs the package {kind}: install actorsys[llm]")
    if kind == "openai":
        from .openai import OpenAIProvider

        return OpenAIProvider(base_url, key, profile.api)
    from .anthropic import AnthropicProvider

    return AnthropicProvider(base_url, key)


def preload(profiles: Iterable[Profile], environ: Mapping[str, str]) -> tuple[str, ...]:
    """What the zygote should load, so that agents with these profiles share it: the SDKs, and the TLS context made with them.

    >>> preload([Profile(provider="openai"), Profile(provider="anthropic")], {"ANTHROPIC_API_KEY": "k"})
    ('actorsys.llm.anthropic',)
    """
    kinds = {_way(profile, environ)[0] for profile in profiles}
    return tuple(f"actorsys.llm.{kind}" for kind in sorted(kinds - {"mock"}))


def _way(profile: Profile, environ: Mapping[str, str]) -> tuple[str, str, str]:
    """(provider, base_url, key) as they are used."""
    if profile.provider == "mock":
        return "mock", "", ""
    key = environ.get(_KEYS[profile.provider], "").strip()
    base_url = profile.base_url or environ.get(_URLS[profile.provider], "").strip()
    return (profile.provider, base_url, key) if key or base_url else ("mock", "", "")
