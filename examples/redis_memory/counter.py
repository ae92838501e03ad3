"""A counter whose total is in Redis."""

from actorsys import Agent, Request, on


class Add(Request[int]):
    n: int


class Counter(Agent):
    @on
    async def add(self, msg: Add) -> int:
        self.state["total"] = self.state.get("total", 0) + msg.n
        return self.state["total"]
