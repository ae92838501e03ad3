import asyncio
import ssl

import msgspec
import pytest

from actorsys import BadModelCall, ModelAuthError, ModelUnavailable
from actorsys.llm.anthropic import AnthropicProvider
from actorsys.llm.base import Call, Turn
from actorsys.llm.openai import OpenAIProvider
from actorsys.llm.sdk import PLACEHOLDER, tls_context
from actorsys.testing.llm import Answer, FakeOpenAI, refusal
from actorsys.testing.llm_openai import ChatDialect

DEEP = "[" * 100_000
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


def test_who_is_ready_has_a_client_and_uses_it():
    async def ask(url):
        provider = OpenAIProvider(url)
        provider.ready(CALL)
        client = provider._client
        assert client is not None
        await provider.complete(CALL)
        provider.ready(CALL)
        assert provider._client is client
        await provider.close()

    with FakeOpenAI() as fake:
        asyncio.run(ask(fake.url))
        assert len(fake.requests) == 1


def test_an_address_that_is_none_is_a_bad_call_also_before_it_is_made():
    with pytest.raises(BadModelCall, match="cannot be asked at"):
        OpenAIProvider("http://host:port").ready(CALL)


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


@pytest.mark.parametrize("key", ["SENT\nINEL", "SENT\rINEL", "SENT\x7fINEL", "SENTINEL\u2028x", "SENTÍNEL"])
def test_a_key_that_no_header_may_hold_is_named_and_not_shown(key):
    async def ask():
        await OpenAIProvider("http://127.0.0.1:1", key).complete(CALL)

    with pytest.raises(ModelAuthError, match="set OPENAI_API_KEY anew") as caught:
        asyncio.run(ask())
    assert "SENT" not in str(caught.value)


@pytest.mark.parametrize("is_stream", [False, True])
def test_an_answer_nested_too_deep_is_no_answer(monkeypatch, is_stream):
    async def ask(url):
        provider = OpenAIProvider(url)
        try:
            if not is_stream:
                return await provider.complete(CALL)
            return [piece async for piece in provider.stream(CALL)]
        finally:
            await provider.close()

    class Nested(ChatDialect):
        def answer(self, said):
            return {**super().answer(said), "x": msgspec.Raw((DEEP + "]" * len(DEEP)).encode())}

        def events(self, said, body):
            yield None, {"x": msgspec.Raw((DEEP + "]" * len(DEEP)).encode())}

    monkeypatch.setitem(FakeOpenAI.dialects, "/chat/completions", Nested())
    with FakeOpenAI() as fake, pytest.raises(ModelUnavailable, match="cannot be read"):
        asyncio.run(ask(fake.url))


def test_half_of_a_surrogate_pair_is_no_text(monkeypatch):
    async def ask(url):
        provider = OpenAIProvider(url)
        try:
            return [piece async for piece in provider.stream(CALL)]
        finally:
            await provider.close()

    class Halved(ChatDialect):
        def events(self, said, body):
            half = msgspec.Raw(b'{"choices": [{"index": 0, "delta": {"content": "\\ud83d"}}]}')
            yield None, half

    monkeypatch.setitem(FakeOpenAI.dialects, "/chat/completions", Halved())
    with FakeOpenAI() as fake, pytest.raises(ModelUnavailable, match="cannot be read"):
        asyncio.run(ask(fake.url))


def test_a_text_nested_too_deep_is_left_as_it_is():
    async def ask(url):
        provider = OpenAIProvider(url)
        try:
            return await provider.complete(msgspec.structs.replace(CALL, schema={"type": "object"}))
        finally:
            await provider.close()

    with FakeOpenAI(schemas=False) as fake:
        fake.rule = lambda request: Answer(DEEP)
        assert asyncio.run(ask(fake.url)).text == DEEP


@pytest.mark.parametrize(
    ("headers", "number", "seconds"),
    [
        ({}, b"NaN", None),
        ({}, b"1" * 400, None),
        ({}, b"-5", None),
        ({}, b"1.5", 1.5),
        ({"retry-after": "nan"}, b"0", 0.0),
        ({"retry-after": "inf"}, b"null", None),
        ({"retry-after": "9" * 400}, b"2", 2.0),
        ({"retry-after-ms": "20"}, b"2", 0.02),
        ({"retry-after": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, b"2", 2.0),
    ],
)
def test_a_wait_that_is_no_time_is_not_taken(monkeypatch, headers, number, seconds):
    class Waiting(ChatDialect):
        def error(self, status, kind, message):
            return {"error": {"message": message, "retry_after": msgspec.Raw(number)}}

    async def ask(url):
        provider = OpenAIProvider(url)
        try:
            await provider.complete(CALL)
        finally:
            await provider.close()

    monkeypatch.setitem(FakeOpenAI.dialects, "/chat/completions", Waiting())
    with FakeOpenAI() as fake:
        fake.script(msgspec.structs.replace(refusal(429, "wait"), headers=headers))
        with pytest.raises(ModelUnavailable) as caught:
            asyncio.run(ask(fake.url))
    assert caught.value.retry_after == seconds


def test_a_server_cannot_send_us_and_our_key_elsewhere():
    async def ask(url):
        provider = OpenAIProvider(url, "mine")
        try:
            await provider.complete(CALL)
        finally:
            await provider.close()

    with FakeOpenAI() as elsewhere, FakeOpenAI() as fake:
        fake.script(Answer("moved", status=307, headers={"location": f"{elsewhere.url}/chat/completions"}))
        with pytest.raises(BadModelCall, match="status 307"):
            asyncio.run(ask(fake.url))
        assert elsewhere.requests == []
