import importlib.util
import logging
import subprocess
import sys

import pytest

from actorsys import ConfigError
from actorsys.llm.anthropic import AnthropicProvider
from actorsys.llm.mock import MockProvider
from actorsys.llm.openai import OpenAIProvider
from actorsys.llm.settings import Profile, preload, provider_for

OWN = "http://127.0.0.1:1234/v1"


@pytest.mark.parametrize(
    ("profile", "environ", "expected"),
    [
        (Profile(), {"OPENAI_API_KEY": "k"}, MockProvider),
        (Profile(provider="openai"), {"OPENAI_API_KEY": "k"}, OpenAIProvider),
        (Profile(provider="openai"), {"OPENAI_BASE_URL": OWN}, OpenAIProvider),
        (Profile(provider="openai", base_url=OWN), {}, OpenAIProvider),
        (Profile(provider="anthropic"), {"ANTHROPIC_API_KEY": "k"}, AnthropicProvider),
        (Profile(provider="anthropic"), {"ANTHROPIC_BASE_URL": "http://127.0.0.1:1234"}, AnthropicProvider),
    ],
)
def test_the_environment_says_which_provider_answers(profile, environ, expected, caplog):
    assert type(provider_for(profile, environ)) is expected
    assert caplog.records == []
    assert preload([profile], environ) == (() if expected is MockProvider else (f"actorsys.llm.{profile.provider}",))


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize("blank", [{}, {"OPENAI_API_KEY": " ", "ANTHROPIC_API_KEY": ""}])
def test_without_a_key_and_without_a_server_the_mock_answers_and_one_line_says_so(kind, blank, caplog):
    with caplog.at_level(logging.WARNING, "actorsys.llm"):
        assert type(provider_for(Profile(provider=kind), blank)) is MockProvider
    assert [record.getMessage() for record in caplog.records] == [
        f"no {kind.upper()}_API_KEY and no base_url: provider {kind!r} is replaced by the mock"
    ]
    assert preload([Profile(provider=kind)], blank) == ()


def test_the_profile_has_its_base_url_before_the_environment():
    provider = provider_for(Profile(provider="openai", base_url=OWN), {"OPENAI_BASE_URL": "http://elsewhere"})
    assert OWN in repr(provider)


def test_an_sdk_that_is_not_installed_is_a_config_error(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"install actorsys\[llm\]"):
        provider_for(Profile(provider="openai"), {"OPENAI_API_KEY": "k"})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_a_provider_is_made_without_its_sdk_and_preloading_leaves_the_first_call_little_to_import(kind):
    program = f"""
import asyncio, sys
from actorsys.llm.base import Call, Turn
from actorsys.llm.settings import Profile, preload, provider_for
from actorsys.process.loading import load
from actorsys.testing.llm import FakeAnthropic, FakeOpenAI

async def call(provider):
    await provider.complete(Call((Turn("user", "hello"),), model="tiny"))
    await provider.close()

with {"FakeOpenAI" if kind == "openai" else "FakeAnthropic"}() as fake:
    environ = {{"{kind.upper()}_BASE_URL": fake.url}}
    profile = Profile(provider="{kind}")
    provider = provider_for(profile, environ)
    assert "{kind}" not in sys.modules
    [name] = preload([profile], environ)
    load(name).__before_fork__()
    assert "{kind}" in sys.modules
    before = set(sys.modules)
    asyncio.run(call(provider))
    print(*sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert len(done.stdout.split()) <= 5, done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only there agents are forked")
def test_neither_preloading_nor_a_call_starts_a_thread():
    program = """
import asyncio, os, threading
def refuse(thread):
    raise AssertionError("a zygote with a thread forks nothing")
threading.Thread.start = refuse
os.environ["HTTP_PROXY"] = os.environ["HTTPS_PROXY"] = "http://127.0.0.1:1"  # preloading must not ask it
from actorsys.llm import anthropic, openai, sdk
for module in (anthropic, openai):
    module.__before_fork__()
assert sdk._tls_context.cache_info().currsize == 1
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
