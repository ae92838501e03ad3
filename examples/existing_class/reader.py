"""Somebody who asks the library: finds it, asks, hands a task over, tells everyone, and leaves."""

import asyncio

from actorsys import RemoteError
from actorsys.comms import AgentComms


class Reader(AgentComms):
    name = "reader"

    def __init__(self):
        super().__init__()
        self.list = asyncio.Queue()

    async def on_completed(self, message):
        self.list.put_nowait(message)


async def main():
    reader = Reader()
    await reader.connect_nats()
    for agent in await reader.discover_agents("books"):
        print(f"found {agent.name}: {agent.description}")
        print(await reader.request_from_agent(to_agent=agent.name, content="Dune", timeout=5))
        try:
            await reader.request_from_agent(to_agent=agent.name, content="Duna", timeout=5)
        except RemoteError as error:
            print(error)
        task = await reader.handoff_to_agent(to_agent=agent.name, content="list them by age")
        done = await reader.list.get()
        print(done.metadata["outcome"], done.payload, done.in_reply_to == task)
    await reader.broadcast_message(content="the reader goes home")
    await reader.disconnect_nats()


if __name__ == "__main__":
    asyncio.run(main())
