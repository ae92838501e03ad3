"""The loop that observes, decides and acts: alone, under a supervisor, and in a program on NATS."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

sys.path[:0] = [path for path in [str(Path(__file__).parent)] if path not in sys.path]

from team import look  # noqa: E402  # found only now

from actorsys import ConfigError, Supervisor  # noqa: E402
from actorsys.agents import OodaComms  # noqa: E402
from actorsys.agents.ooda import Loop, profile_of  # noqa: E402
from actorsys.comms import AgentComms  # noqa: E402
from actorsys.llm import LLM, Profile  # noqa: E402
from actorsys.testing.nats import require_server, run_server  # noqa: E402
from actorsys.testing.waiting import eventually  # noqa: E402


def scripted(folder, *rules):
    script = folder / "script.json"
    script.write_text(json.dumps(rules))
    return LLM({"default": Profile(script=str(script))}, "default")


async def no_agent(name, message):
    raise AssertionError("nobody is to be asked")


def loop(tools=(), history=20, agents=(), ask=no_agent, max_steps=8, tool_timeout=60.0):
    return Loop("You help.", "", tools, max_steps, history, agents, ask, tool_timeout)


def turn(loop, llm, content, before=(), sender=""):
    return asyncio.run(loop.turn(llm, before, sender, content))


def call(tool, **arguments):
    return {"times": 1, "tool_calls": [{"name": tool, "arguments": arguments}]}


def test_it_acts_with_its_tools_and_answers_with_what_they_found(tmp_path):
    llm = scripted(tmp_path, {"times": 1, "tool_calls": [
        {"name": "look", "arguments": {"place": "A"}}, {"name": "look", "arguments": {"place": "B"}},
    ]})  # fmt: skip
    answer, history = turn(loop(tools=["team:look"]), llm, "what is there?")
    assert answer == "a lake at A a lake at B"
    assert history == [{"role": "user", "content": "what is there?"}, {"role": "assistant", "content": answer}]


def test_a_tool_that_fails_is_told_to_the_model(tmp_path):
    answer, _ = turn(loop(tools=["team:fail"]), scripted(tmp_path, call("fail", place="A")), "look")
    assert answer == "error: LookupError: nothing at A"


def test_a_tool_that_hangs_is_told_to_the_model_and_0_is_no_limit(tmp_path):
    async def hang() -> str:
        await asyncio.Event().wait()

    async def nap() -> str:
        await asyncio.sleep(0.01)
        return "well rested"

    assert turn(loop([hang], tool_timeout=0.05), scripted(tmp_path, call("hang")), "x")[0] == "error: no answer within 50ms"
    assert turn(loop([nap], tool_timeout=0), scripted(tmp_path, call("nap")), "x")[0] == "well rested"


def test_it_asks_other_agents_but_only_those_it_was_given(tmp_path):
    async def ask(name, message):
        return f"{name} heard {message}"

    agents = loop(agents=["writer"], ask=ask)
    assert turn(agents, scripted(tmp_path, call("ask_agent", name="writer", message="hi")), "x")[0] == "writer heard hi"
    assert turn(agents, scripted(tmp_path, call("ask_agent", name="root", message="hi")), "x")[0].startswith("error: ValueError")


def test_it_remembers_so_much_and_no_more():
    llm, remembering = LLM({"default": Profile()}, "default"), loop(history=5)
    history = []
    for number in range(6):
        _, history = turn(remembering, llm, f"number {number}", history, "asker")
    assert [each["role"] for each in history] == ["user", "assistant"] * 2
    assert history[0]["content"] == "asker says:\n\nnumber 4"
    assert turn(loop(history=0), llm, "number", history)[1] == []
    assert len(turn(remembering, llm, "x" * 100_000)[1][0]["content"]) == 4000


@pytest.mark.parametrize("path", ["team:nothing", "no_such_module:look", "team:NO_TOOL", "team"])
def test_what_is_no_tool_is_a_config_error(path):
    with pytest.raises(ConfigError, match="is no tool"):
        loop(tools=[path])


def test_without_a_step_nothing_could_be_answered():
    with pytest.raises(ConfigError, match="max_steps is 0"):
        loop(max_steps=0)


def test_the_model_of_a_program_is_that_of_the_environment():
    found = profile_of({"LLM_PROVIDER": "openai", "LLM_MODEL": "m", "LLM_MAX_TOKENS": "7", "LLM_TIMEOUT_SECONDS": "2.5"})
    assert (found.provider, found.model, found.max_tokens, found.timeout) == ("openai", "m", 7, 2.5)
    assert profile_of({"LLM_PROVIDER": " "}) == Profile()
    with pytest.raises(ConfigError, match="LLM_PROVIDER"):
        profile_of({"LLM_PROVIDER": "abacus"})


@pytest.mark.slow
def test_under_a_supervisor_its_history_is_state_and_survives(tmp_path):
    async def main():
        async with Supervisor(state_dir=tmp_path) as sup:
            agent = await sup.spawn("ooda", name="helper", memory="sqlite", args={"tools": ["team:look"], "history": 4})
            for words in ("one.", "two.", {"three": 3}):
                answer = await agent.ask(words)
            assert answer == '{"three":3}'
            await agent.restart()
            await agent.ask("four.")
            said = [each["content"] for each in (await agent.state())["history"]]
            assert said == ['{"three":3}', '{"three":3}', "four.", "four."]

    asyncio.run(main())


@pytest.mark.slow
def test_in_a_program_on_nats_the_same_loop_answers(tmp_path):
    require_server()

    class Asker(AgentComms):
        name = "asker"

        def run(self, message):
            return f"asker heard {message}"

    async def main():
        async with run_server(tmp_path / "nats") as server, asyncio.timeout(30):
            url = server.url.replace("nats://", f"nats://{server.info.token}@")
            rules = [
                {"match": "look", "times": 1, "tool_calls": [{"name": "look", "arguments": {"place": "A"}}]},
                {
                    "match": "talk",
                    "times": 1,
                    "tool_calls": [{"name": "ask_agent", "arguments": {"name": "asker", "message": "hi"}}],
                },
            ]
            helper = OodaComms("helper", tools=[look], agents=["asker"], llm=scripted(tmp_path, *rules))
            serving = asyncio.create_task(helper.run_with_nats(url))
            asker = Asker()
            await asker.connect_nats(url)
            await eventually(lambda: helper.is_on_nats)
            assert await asker.request_from_agent("helper", "look") == "a lake at A"
            assert await asker.request_from_agent("helper", "talk to me") == "asker heard hi"
            assert await asker.request_from_agent("helper", "hello.") == "hello."
            assert helper.history[-2]["content"] == "asker says:\n\nhello."
            helper.stop_nats()
            await serving
            await asker.disconnect_nats()

    asyncio.run(main())
