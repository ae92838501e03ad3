"""Anthropic, and servers that speak its API."""

from types import ModuleType
from typing import Any

from .sdk import SdkProvider
from .wire_messages import Messages

_URL = "https://api.anthropic.com"


class AnthropicProvider(SdkProvider):
    """`base_url` is without the "/v1"."""

    def __init__(self, base_url: str = "", key: str = "") -> None:
        wire, variable = Messages(), "ANTHROPIC_API_KEY"
        super().__init__("anthropic", wire, _URL, base_url=base_url, key=key, variable=variable, sdk=_sdk, make=_make)


def _sdk() -> ModuleType:
    import anthropic

    return anthropic


def _make(url: str, key: str, http_client: Any) -> Any:
    return _sdk().AsyncAnthropic(api_key=key, base_url=url, max_retries=0, http_client=http_client)


def __before_fork__() -> None:  # noqa: N807 - what the zygote calls when it has loaded this
    """Load what agents share."""
    AnthropicProvider("http://nobody").warm()
