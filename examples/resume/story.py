"""A workflow of five model calls whose coordinator is killed in the third: what is finished is not paid again.

The model is a server on this machine that counts its calls. It holds each call until the script lets it go, so that the kill comes in
the middle of one.
"""

import asyncio
import os
import signal

from actorsys import Agent, Supervisor, on, run
from actorsys.agents import Plan, RunWorkflow, Step, Work
from actorsys.testing.llm import FakeOpenAI
from actorsys.testing.waiting import eventually

CHAPTERS = ["beginning", "quest", "storm", "homecoming", "end"]
# Each chapter needs the one before it.
PLAN = Plan([Step(name, "writer", f"write the {name}", CHAPTERS[max(0, n - 1) : n]) for n, name in enumerate(CHAPTERS)])


class Writer(Agent):
    @on
    async def work(self, msg: Work) -> str:
        return (await self.llm.complete(msg.task)).text


async def main() -> None:
    with FakeOpenAI() as model:
        profile = {"provider": "openai", "base_url": model.url, "model": "counted"}
        async with Supervisor(llm={"counted": profile}, nats="off") as sup:
            await sup.spawn(Writer, name="writer", llm="counted")
            # Only a durable backend keeps the journal of the steps.
            coordinator = await sup.spawn("workflow_coordinator", name="coordinator", memory="sqlite")
            model.hold()
            asking = asyncio.create_task(coordinator.ask(RunWorkflow(PLAN), timeout=60))
            for number in (1, 2):
                await shown(model, number)
                model.release(1)
            await shown(model, 3)
            os.kill((await coordinator.info())["pid"], signal.SIGKILL)
            print("kill -9 of the coordinator, while call 3 is under way")
            await shown(model, 4)
            model.release()
            for number in (5, 6):
                await shown(model, number)
            outcome = await asking
            print(f"workflow {outcome.status}: {outcome.summary}")
    answered = [call.asked for call in model.requests if call.outcome == "answered"]
    print(f"{len(model.requests)} calls, {len(answered)} answered; paid twice: {len(answered) - len(set(answered))}")


async def shown(model: FakeOpenAI, number: int) -> None:
    """Wait for a call, and show it."""
    asked = await eventually(lambda: len(model.requests) >= number and model.requests[number - 1].asked)
    print(f"call {number}: {asked}", flush=True)


if __name__ == "__main__":
    run(main())
