"""An editor and an archive in the north, a writer in the south; they ask each other by name, wherever they are."""

from actorsys import Agent, Request, on


class Publish(Request[str]):
    """An article, please."""

    topic: str


class Draft(Request[str]):
    topic: str


class Look(Request[list[str]]):
    """What do we know about this?"""

    topic: str


class Editor(Agent):
    @on
    async def publish(self, msg: Publish) -> str:
        text = await self.agent("writer").ask(Draft(msg.topic), timeout=10)
        self.state["published"] = self.state.get("published", 0) + 1
        return f"{msg.topic.upper()}: {text}"


class Archive(Agent):
    facts = {"bees": ["they dance", "they make honey"], "ants": ["they are many"]}

    @on
    def look(self, msg: Look) -> list[str]:
        return self.facts.get(msg.topic, [])


class Writer(Agent):
    @on
    async def draft(self, msg: Draft) -> str:
        facts = await self.agent("archive").ask(Look(msg.topic), timeout=10)
        self.log.info("a draft about %s, from %d facts", msg.topic, len(facts))
        return ", and ".join(facts) or "nothing is known"
