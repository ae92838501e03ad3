"""A supervised agent. Its clerk is a program of somebody else's: it is asked by name all the same."""

from actorsys import Agent, Request, UnknownAgent, on


class Order(Request[str]):
    """So many of a thing, please."""

    thing: str
    number: int = 1


class Desk(Agent):
    @on
    async def order(self, msg: Order) -> str:
        try:
            price = await self.agent("clerk").ask({"thing": msg.thing}, timeout=5)
        except UnknownAgent:
            return "the clerk is at lunch; start clerk.py"
        self.state["orders"] = self.state.get("orders", 0) + 1
        return f"order {self.state['orders']}: {msg.number} {msg.thing}, {price * msg.number} in all"
