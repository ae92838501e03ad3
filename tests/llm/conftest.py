"""An LLM on mocks with scripts, and a gate and a journal that write down what they are asked."""

import pytest

from actorsys.llm import fallback
from actorsys.llm.client import LLM
from actorsys.llm.fallback import Lease
from actorsys.llm.mock import MockProvider
from actorsys.llm.settings import Profile


class Gate:
    """The real protocol, and a list."""

    def __init__(self):
        self.leased, self.settled, self.error = [], [], None

    async def lease(self, profile, tokens):
        if self.error is not None:
            raise self.error
        self.leased.append((profile, tokens))
        return Lease(len(self.leased), profile)

    def settle(self, lease, usage, ok):
        self.settled.append((lease.number, usage, ok))


class Journal:
    """Keeps what a durable backend would, as plain values; `names` are those of steps that were performed."""

    def __init__(self):
        self.rows, self.names = {}, []

    async def step(self, name, function, *args):
        import msgspec

        if name not in self.rows:
            self.rows[name] = msgspec.msgpack.encode(await function(*args))
            self.names.append(name)
        return msgspec.msgpack.decode(self.rows[name])


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def journal():
    return Journal()


@pytest.fixture
def llm_of(monkeypatch, gate):
    """Builds an LLM whose profiles a, b, c, ... are mocks with these scripts, each the fallback of the one before it."""
    # Retries wait as long as they do, only faster.
    monkeypatch.setattr(fallback, "_backoff", lambda state: 0.0)

    def build(*scripts, journal=None, deadline=None, **profile):
        names = "abc"[: len(scripts)]
        profiles = {
            name: Profile(model=f"model-{name}", fallback=tuple(names[place + 1 : place + 2]), **profile)
            for place, name in enumerate(names)
        }
        llm = LLM(profiles, "a", gate, journal, deadline)
        for way, script in zip(llm._chain.ways, scripts, strict=True):
            way.provider = MockProvider(script)
        llm.mocks = [way.provider for way in llm._chain.ways]
        return llm

    return build
