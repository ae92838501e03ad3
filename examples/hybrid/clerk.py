"""The clerk knows the prices. No supervisor: a class with a `run`, made an agent on NATS by `AgentComms`."""

import asyncio

from actorsys.comms import AgentComms

PRICES = {"pencil": 2, "book": 12}


class Clerk(AgentComms):
    name = "clerk"

    def run(self, message):
        return PRICES[message["thing"]]


async def main():
    clerk = Clerk()
    await clerk.connect_nats(capabilities=["prices"], description="knows the prices")
    desk = await clerk.request_from_agent("desk", {"type": "Order", "thing": "pencil", "number": 3})
    print(f"the desk says: {desk}", flush=True)
    await clerk.run_with_nats(signals=True)


if __name__ == "__main__":
    asyncio.run(main())
