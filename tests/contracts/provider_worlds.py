"""The providers under contract, each with the server it talks to. A new one is a line in FACTORIES."""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from actorsys.llm.anthropic import AnthropicProvider
from actorsys.llm.base import Provider
from actorsys.llm.openai import OpenAIProvider
from actorsys.testing.llm import Fake, FakeAnthropic, FakeOpenAI

KEY = "sentinel-key-0123456789"


class Factory(Struct, frozen=True):
    fake: Callable[..., Fake]
    make: Callable[[str, str], Provider]  # of base_url and key


# A provider without a server (the mock) passes by giving a `Fake` of its own kind, whose `script` and `requests` are the provider's.
FACTORIES: dict[str, Factory] = {
    "openai chat": Factory(FakeOpenAI, OpenAIProvider),
    "openai responses": Factory(FakeOpenAI, lambda url, key: OpenAIProvider(url, key, "responses")),
    "anthropic": Factory(FakeAnthropic, AnthropicProvider),
}


class World:
    """A provider and its server; `async with` closes both."""

    def __init__(self, kind: str, **options: Any) -> None:
        factory = FACTORIES[kind]
        self.fake = factory.fake(**options)
        self._make = factory.make

    async def __aenter__(self) -> "World":
        self.fake.start()
        self.provider = self._make(self.fake.url, KEY)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.provider.close()
        self.fake.stop()
