"""The agents of the service, in a module of their own: their processes need not load the web framework."""

from collections.abc import AsyncIterator

from actorsys import Agent, Request, on


class Question(Request[str]):
    text: str


class Story(Request[str]):
    """Told piece by piece, as it is made up."""

    about: str


class Storyteller(Agent):
    @on
    async def answer(self, msg: Question) -> str:
        self.state["answered"] = self.state.get("answered", 0) + 1
        return (await self.llm.complete(msg.text)).text

    @on
    async def tell(self, msg: Story) -> AsyncIterator[str]:
        async for piece in self.llm.stream(
            f"Once upon a time there was {msg.about}. And if it has not died, it lives there still."
        ):
            yield piece
