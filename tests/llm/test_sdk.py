import asyncio
import ssl

import pytest

from actorsys import BadModelCall, ModelAuthError
from actorsys.llm.anthropic import AnthropicProvider
from actorsys.llm.base import Call, Turn
from actorsys.llm.openai import OpenAIProvider
from actorsys.llm.sdk import PLACEHOLDER, tls_context
from actorsys.testing.llm import FakeOpenAI

CALL = Call((Turn("user", "hello"),), model="tiny")


@pytest.mark.parametrize(("kind", "variable"), [(OpenAIProvider, "OPENAI_API_KEY"), (AnthropicProvider, "ANTHROPIC_API_KEY")])
def test_without_a_key_and_a_server_of_ones_own_nobody_is_asked(kind, variable):
    with pytest.raises(ModelAuthError, match=f"set {variable}"):
        asyncio.run(kind(key=" ").complete(CALL))


def test_a_server_of_ones_own_gets_a_placeholder_for_a_key():
    async def ask(url):
        provider = OpenAIProvider(url)
        await provider.complete(CALL)
        await provider.close()

    with FakeOpenAI() as fake:
        asyncio.run(ask(fake.url))
        assert fake.requests[0].headers["authorization"] == f"Bearer {PLACEHOLDER}"


def test_the_environment_of_the_sdk_does_not_change_where_we_go(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere")
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    with FakeOpenAI(key="mine") as fake:

        async def ask():
            provider = OpenAIProvider(fake.url, " mine\n")
            try:
                return await provider.complete(CALL)
            finally:
                await provider.close()

        assert asyncio.run(ask()).text == "echo: hello"


@pytest.mark.parametrize("url", ["http://host:port", "localhost:1234/v1", "ftp://127.0.0.1"])
def test_an_address_that_is_none_is_a_bad_call(url):
    async def ask():
        provider = OpenAIProvider(url)
        try:
            await provider.complete(CALL)
        finally:
            await provider.close()

    with pytest.raises(BadModelCall, match=f"cannot be asked at '{url}'"):
        asyncio.run(ask())


def test_the_tls_context_is_made_once_and_checks_certificates(monkeypatch):
    first = tls_context()
    assert tls_context() is first
    assert (first.verify_mode, first.check_hostname) == (ssl.CERT_REQUIRED, True)
    monkeypatch.setenv("SSL_CERT_DIR", "/nowhere")
    assert tls_context() is not first


def test_a_provider_serves_one_event_loop_after_another():
    with FakeOpenAI() as fake:
        provider = OpenAIProvider(fake.url)

        async def ask():
            found = await provider.complete(CALL)
            await provider.close()
            return found.text

        assert [asyncio.run(ask()) for _ in range(2)] == ["echo: hello"] * 2
