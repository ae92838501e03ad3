"""An agent that counts. Its state is in SQLite, so it survives `kill -9`."""

from actorsys import Agent, Event, Request, on


class Add(Request[int]):
    n: int


class Reset(Event):
    pass


class Counter(Agent):
    async def on_start(self) -> None:
        self.state.setdefault("total", 0)

    @on
    async def add(self, msg: Add) -> int:
        self.state["total"] += msg.n
        return self.state["total"]  # type: ignore[no-any-return]  # state holds plain values

    @on
    async def reset(self, msg: Reset) -> None:
        self.state["total"] = 0
