"""Agents that think, each a process, and a provider that counts: what was finished is never paid twice, limits hold, keys stay secret."""

import asyncio
import json
import logging
import os
import signal
import time

import pytest
from llm_agents import Beside, Flow, Loaded, Note, Say, Tell, Thinker, Tokens

from actorsys import AgentDown, ConfigError, RemoteError, Supervisor
from actorsys.memory.base import MemoryContext, create
from actorsys.memory.step_rows import split
from actorsys.testing.llm import Answer, FakeOpenAI, refusal
from actorsys.testing.waiting import eventually

KEY = "sk-sentinel-0123456789abcdef"


@pytest.fixture
def fake():
    with FakeOpenAI() as server:
        yield server


def profile(fake, **more):
    return {"default": {"provider": "openai", "model": "gpt-test", "base_url": fake.url, **more}}


def of(fake, asked):
    return [request for request in fake.requests if request.asked == asked]


async def one(ref):
    return await ref.info()


# --- the journal


def test_killed_in_each_call_of_a_workflow_no_finished_call_is_made_again(run, fake):
    def first_hangs(request):
        """The agent is killed while it waits for that."""
        return None if of(fake, request.asked) else Answer(delay=60.0)

    async def main():
        async with Supervisor(llm=profile(fake, budget={"tokens": 10**6})) as sup:
            ref = await sup.spawn(
                Thinker, name="thinker", memory="sqlite", restart={"max_restarts": 50}, mailbox={"max_deliveries": 50}
            )
            fake.rule = first_hangs
            asking = asyncio.ensure_future(ref.ask(Flow(5), timeout=50))
            for number in range(1, 6):
                await eventually(lambda: len(of(fake, f"step {number}")) == 1)  # noqa: B023 - called at once
                os.kill((await one(ref))["pid"], signal.SIGKILL)
            assert await asking == [f"echo: step {number}" for number in range(1, 6)]
            assert [request.asked for request in fake.requests] == [f"step {number}" for number in (1, 1, 2, 2, 3, 3, 4, 4, 5, 5)]
            await eventually(lambda: sup.children()[0]["llm"]["calls"] == 10)
            assert sup.children()[0]["restarts"] == 5

    run(main())


def test_of_calls_made_at_once_only_those_in_flight_are_repeated(run, fake):
    async def main():
        async with Supervisor(llm=profile(fake)) as sup:
            ref = await sup.spawn(Thinker, name="thinker", memory="sqlite")
            fake.rule = lambda request: Answer(delay=30.0) if request.asked == "slow" and len(of(fake, "slow")) == 0 else None
            asking = asyncio.ensure_future(ref.ask(Beside(["a", "slow", "b"]), timeout=50))
            await eventually(lambda: len(of(fake, "slow")) == 1)
            backend = create("sqlite", MemoryContext(name="thinker/0", folder=sup.agents_dir))
            while len(split(await backend.peek())[1]) < 2:  # noqa: ASYNC110 - another process writes them
                await asyncio.sleep(0.005)
            os.kill((await one(ref))["pid"], signal.SIGKILL)
            assert await asking == ["echo: a", "echo: slow", "echo: b"]
            assert sorted(request.asked for request in fake.requests) == ["a", "b", "slow", "slow"]

    run(main())


def test_without_a_durable_backend_a_workflow_begins_anew(run, fake):
    async def main():
        async with Supervisor(llm=profile(fake)) as sup:
            ref = await sup.spawn(Thinker, name="thinker")
            fake.hold()
            asking = asyncio.ensure_future(ref.ask(Flow(2), timeout=50))
            await eventually(lambda: len(fake.requests) == 1)
            fake.release(1)
            await eventually(lambda: len(fake.requests) == 2)
            os.kill((await one(ref))["pid"], signal.SIGKILL)
            fake.release()
            assert await asking == ["echo: step 1", "echo: step 2"]
            assert [request.asked for request in fake.requests] == ["step 1", "step 2", "step 1", "step 2"]

    run(main())


def test_tokens_of_a_model_come_in_pieces(run, fake):
    async def main():
        async with Supervisor(llm=profile(fake)) as sup:
            ref = await sup.spawn(Thinker, name="thinker")
            pieces = await ref.ask(Tokens("one two three four"))
            assert len(pieces) > 1
            assert "".join(pieces) == "echo: one two three four"

    run(main())


@pytest.mark.parametrize("memory", ["in_memory", "sqlite"])
def test_tokens_of_a_model_go_on_to_whoever_reads_the_stream(run, fake, memory):
    async def main():
        async with Supervisor(llm=profile(fake)) as sup:
            ref = await sup.spawn(Thinker, name="thinker", memory=memory)
            pieces = [piece async for piece in ref.stream(Tell("one two three four"))]
            assert len(pieces) > 1
            assert "".join(pieces) == "echo: one two three four"
            left = ref.stream(Tell("five six seven"))
            assert await anext(left)
            await left.aclose()
            assert await ref.ask(Say("still there")) == "echo: still there"

    run(main())


# --- limits


def test_fifty_agents_share_one_rate_limit_and_nobody_starves(run, fake):
    agents, requests = 50, 10

    async def main():
        async with Supervisor(llm=profile(fake, rate={"requests": requests})) as sup:
            refs = await asyncio.gather(*(sup.spawn(Thinker, name=f"thinker{number}") for number in range(agents)))
            began = time.monotonic()
            # Each has more than one call to make: who got one waits behind all who did not.
            asked = [ref.ask(Say(f"{ref.name} {turn}"), timeout=50) for turn in "ab" for ref in refs]
            waiting = asyncio.gather(*asked, return_exceptions=True)
            await eventually(lambda: len({request.asked.split()[0] for request in fake.requests}) == agents, 30)
            first = {}
            for request in fake.requests:
                first.setdefault(request.asked.split()[0], request.at - began)
            assert max(first.values()) < agents / 8 * 1.5 + 2
            waiting.cancel()
        assert fake.most_in(1.0) <= requests

    run(main())


def test_a_spent_budget_fails_the_call_and_not_the_agent(run, fake):
    async def main():
        async with Supervisor(llm=profile(fake, max_tokens=10)) as sup:
            ref = await sup.spawn(Thinker, name="thinker", budget={"tokens": 100})
            fake.rule = lambda request: Answer("x " * 90)
            await ref.ask(Say("hello"))
            with pytest.raises(RemoteError, match=r"the budget of agents\.thinker") as caught:
                await ref.ask(Say("again"))
            assert caught.value.type == "BudgetExceeded"
            await ref.tell(Note("again"))
            await eventually(lambda: sup.children()[0]["dead_letters"] == 1)
            row = sup.children()[0]
            assert (row["restarts"], row["state"], row["llm"]["calls"], len(fake.requests)) == (0, "running", 1, 1)

    run(main())


def test_a_budget_that_pauses_lets_calls_wait_for_the_next_window(run, fake):
    async def main():
        budget = {"tokens": 120, "window": "500ms", "on_exhausted": "pause"}
        async with Supervisor(llm=profile(fake, max_tokens=10, budget=budget)) as sup:
            ref = await sup.spawn(Thinker, name="thinker")
            fake.rule = lambda request: Answer("x " * 110)
            await ref.ask(Say("hello"))
            await ref.ask(Say("again"), timeout=20)
            first, second = fake.requests
            assert second.at - first.at > 0.4

    run(main())


@pytest.mark.parametrize(
    ("llm", "loaded"),
    [
        (None, []),
        ({"default": {}, "fast": {"provider": "openai", "base_url": "http://127.0.0.1:9"}}, ["openai", "tenacity"]),
        ({"default": {"provider": "anthropic", "max_tokens": 5}}, ["tenacity"]),  # without a key it is the mock
    ],
)
def test_what_the_profiles_use_is_imported_before_agents_are_forked(run, llm, loaded, monkeypatch):
    async def main():
        async with Supervisor(llm=llm) as sup:
            ref = await sup.spawn(Thinker, name="thinker")
            assert await ref.ask(Loaded(["anthropic", "openai", "tenacity"])) == loaded

    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    run(main())


# --- failures


def test_a_provider_that_is_busy_costs_the_agent_nothing(run, fake):
    async def main():
        async with Supervisor(llm=profile(fake)) as sup:
            ref = await sup.spawn(Thinker, name="thinker")
            fake.script(refusal(429, retry_after=0.01), refusal(503))
            assert await ref.ask(Say("hello")) == "echo: hello"
            fake.rule = lambda request: refusal(503)
            await ref.tell(Note("hello", timeout=0.5))
            await eventually(lambda: sup.children()[0]["dead_letters"] == 1)
            fake.rule = None
            assert sup.children()[0]["restarts"] == 0
            (dead,) = await sup._commands("dead-letters", {})
            assert "ModelUnavailable" in dead["reason"]

    run(main())


@pytest.mark.parametrize("kind", ["ask", "tell"])
def test_a_refused_key_stops_the_agent_and_why_says_so(run, monkeypatch, kind):
    async def main():
        with FakeOpenAI(key="another") as fake:
            async with Supervisor(llm=profile(fake)) as sup:
                ref = await sup.spawn(Thinker, name="thinker")
                if kind == "ask":
                    with pytest.raises(RemoteError) as caught:
                        await ref.ask(Say("hello"))
                    assert caught.value.type == "ModelAuthError"
                else:
                    await ref.tell(Note("hello"))
                await eventually(lambda: sup.children()[0]["state"] == "stopped")
                why = await sup._commands("why", {"name": "thinker"})
                assert why["decision"].startswith("stopped by itself: ModelAuthError: ")
                with pytest.raises(AgentDown):
                    await ref.ask(Say("hello"), when_down="fail")
                assert len(fake.requests) <= 1

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    run(main())


def test_a_profile_that_is_not_there_is_refused_when_an_agent_is_spawned(run):
    async def main():
        async with Supervisor(llm={"fast": {}}) as sup:
            await sup.spawn(Thinker, name="a", llm="fast")
            with pytest.raises(ConfigError, match=r"b: there is no \[llm\.slow\]"):
                await sup.spawn(Thinker, name="b", llm="slow")

    run(main())


def test_a_profile_without_a_key_is_a_mock_and_says_so_once(run, caplog, monkeypatch):
    async def main():
        async with Supervisor(llm={"default": {"provider": "openai"}}) as sup:
            ref = await sup.spawn(Thinker, name="thinker")
            for _ in range(3):
                assert await ref.ask(Say("It is warm.")) == "It is warm."

    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with caplog.at_level(logging.WARNING):
        run(main())
    assert caplog.text.count("replaced by the mock") == 1


def test_the_key_is_nowhere_to_be_seen_after_failures_of_every_kind(run, caplog, monkeypatch, tmp_path, capfd):
    """The fake names the key it was given in its refusal, as a careless proxy does."""
    seen = []

    async def fail(sup, ref, answer):
        fake.rule = lambda request: answer
        model = f"model-{len(seen)}"  # another breaker
        with pytest.raises(RemoteError) as caught:
            await ref.ask(Say("hello", timeout=0.3, model=model), timeout=10)
        seen.append(f"{caught.value} {caught.value.traceback}")
        before = sup.children()[0]["dead_letters"]
        await ref.tell(Note("hello", timeout=0.3, model=model))
        await eventually(lambda: sup.children()[0]["dead_letters"] > before)

    async def main():
        async with Supervisor(llm=profile(fake), state_dir=tmp_path / "state", nats="off") as sup:
            ref = await sup.spawn(Thinker, name="thinker", memory="sqlite", on_error="resume", mailbox={"durability": "disk"})
            for status in (400, 404, 413, 429, 500, 529):
                await fail(sup, ref, refusal(status, f"no {KEY}"))
            for fault in ("reset", "cut", "garbage"):
                await fail(sup, ref, Answer(fault=fault))
            await fail(sup, ref, Answer(delay=5.0))
            fake.rule, fake.key = None, "another"
            with pytest.raises(RemoteError) as caught:
                await ref.ask(Say("hello"))
            assert caught.value.type == "ModelAuthError"
            seen.append(f"{caught.value} {caught.value.traceback}")
            os.kill(sup.children()[0]["pid"], signal.SIGABRT)
            await eventually(lambda: sup.children()[0]["restarts"] == 1)
            for command in ("ps", "why", "state", "steps", "info"):
                seen.append(json.dumps(await sup._commands(command, {"name": "thinker"}), default=str))
            seen.append(json.dumps(await sup._commands("dead-letters", {"do": "show"}), default=str))
            seen.extend(path.read_bytes().decode("latin-1") for path in (tmp_path / "state").rglob("*") if path.is_file())

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with FakeOpenAI() as fake, caplog.at_level(logging.DEBUG):
        run(main())
    assert all(KEY in request.headers["authorization"] for request in fake.requests)  # it was used
    seen += [caplog.text, *capfd.readouterr()]
    assert len(seen) > 20
    assert [text for text in seen if KEY in text or KEY[:16] in text] == []


# --- a file, and the command line

FILE = """
[supervisor]
[nats]
mode = "off"
[llm.default]
{}
[agents.thinker]
type = "llm_agents:Thinker"
"""


def test_a_reload_changes_limits_at_once_and_restarts_for_the_rest(node):
    node.write(FILE.format("rate = { requests = 5 }"))
    node.supervise()
    before = node.wait_state("thinker", state="running")
    assert before["llm"] is None
    assert json.loads(node.call("ask", "thinker", "Say", "text=It is warm.")) == "It is warm."
    assert node.ps("thinker")["llm"] == {"calls": 1, "input_tokens": 3, "output_tokens": 3, "usd": 0.0}
    node.write(FILE.format("rate = { requests = 9 }\nprice = { input = 1_000_000.0 }"))
    assert node.call("reload").splitlines() == [
        "~ thinker/0  llm.default.rate.requests: 5 -> 9; llm.default.price.input: 0.0 -> 1000000.0"
    ]
    node.call("ask", "thinker", "Say", "text=It is warm.")
    row = node.ps("thinker")
    assert (row["pid"], row["llm"]["usd"]) == (before["pid"], 3.0)
    node.write(FILE.format('rate = { requests = 9 }\nprice = { input = 1_000_000.0 }\nmodel = "other"'))
    assert node.call("reload") == "~ thinker/0  restart  llm.default.model added: 'other'\n"
    assert node.wait_state("thinker", state="running", incarnation=2)["pid"] != before["pid"]


def test_accounts_outlive_the_supervisor(node):
    node.write(FILE.format("budget = { tokens = 10_000 }"))
    for calls in (1, 2):
        node.supervise()
        node.wait_state("thinker", state="running")
        node.call("ask", "thinker", "Say", "text=It is warm.")
        assert node.ps("thinker")["llm"]["calls"] == calls
        node.process.terminate()
        assert node.process.wait(30) == 0
