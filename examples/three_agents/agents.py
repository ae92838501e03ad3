"""Weather-Bot knows the weather, General-Assistant puts facts into words, Task-Coordinator has them work together."""

import zlib

from msgspec import Struct

from actorsys import Agent, AgentDown, AskTimeout, Event, Message, Request, Unreachable, on

CITIES = ("Lisbon", "Oslo", "Nairobi", "Osaka", "Quito")
SKIES = ("sunny", "cloudy", "rainy", "windy", "foggy")
STYLE = "You are told the weather of a city. Say in at most ten friendly words what a visitor should do. Only those words."


class Report(Struct, frozen=True):
    city: str
    sky: str
    degrees: int


class Forecast(Request[Report]):
    """What is the weather in `city` on day number `day`?"""

    city: str
    day: int = 0


class Advise(Request[str]):
    """Put a report into one sentence of advice."""

    report: Report


class Published(Event):
    """Told to everyone: there is a new piece of advice."""

    city: str
    day: int


class NextRound(Event):
    """Time for another plan."""


class WeatherBot(Agent):
    @on
    async def forecast(self, msg: Forecast) -> Report:
        number = zlib.crc32(f"{msg.city}/{msg.day}".encode())
        self.state["asked"] = self.state.get("asked", 0) + 1
        return Report(msg.city, SKIES[number % len(SKIES)], number % 35)

    @on
    async def published(self, msg: Published) -> None:
        self.state["published"] = self.state.get("published", 0) + 1
        self.log.info("I hear that my forecast for %s was published; that makes %d", msg.city, self.state["published"])


class GeneralAssistant(Agent):
    @on
    async def advise(self, msg: Advise) -> str:
        facts = f"{msg.report.city} will be {msg.report.sky} with {msg.report.degrees} degrees"
        said = await self.llm.complete(facts, system=STYLE)
        self.log.info("a sentence about %s, worded by %s", msg.report.city, said.model or said.provider)
        return f"{facts}: {said.text.strip()}"


class TaskCoordinator(Agent):
    def __init__(self, every: float = 2.0) -> None:
        self.pause = every

    async def on_start(self) -> None:
        self.every(self.pause, NextRound())

    @on
    async def next_round(self, msg: NextRound) -> None:
        day = self.state["day"] = self.state.get("day", 0) + 1
        city = CITIES[day % len(CITIES)]
        try:
            report = await self.agent("Weather-Bot").ask(Forecast(city, day), timeout=10)
            try:
                task = await self.handoff("General-Assistant", Advise(report))
            except Unreachable:  # no NATS: ask, and wait for the answer
                advice = await self.agent("General-Assistant").ask(Advise(report), timeout=10)
                self.log.info("day %d: %s", day, advice)
                return
        except (AskTimeout, AgentDown) as error:
            self.log.warning("no plan for day %d: %s", day, error)
            return
        self.log.info("day %d: the writing about %s is handed to General-Assistant", day, city)
        self.state["handed"] = {**self.state.get("handed", {}), task: [day, city]}

    async def on_completed(self, message: Message) -> None:
        handed = self.state.get("handed", {})
        if message.in_reply_to not in handed:
            return  # it was here before
        day, city = handed[message.in_reply_to]
        self.state["handed"] = {task: what for task, what in handed.items() if what[0] > day}
        if message.metadata["outcome"] == "failed":
            self.log.warning("no plan for day %d: %s", day, message.payload["message"])
            return
        self.log.info("day %d: %s", day, message.payload)
        await self.broadcast(Published(city, day))
