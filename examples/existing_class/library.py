"""A class that exists already, put on NATS: `python library.py` serves until Ctrl-C."""

import asyncio

from actorsys import Message
from actorsys.comms import AgentComms

BOOKS = {"Dune": 1965, "Emma": 1815, "Ulysses": 1922}


class Library:
    """It knows nothing of agents, and blocks while it looks."""

    def __init__(self, books):
        self.books = books

    def run(self, title):
        if title not in self.books:
            raise LookupError(f"no book is called {title!r}")
        return {"title": title, "year": self.books[title]}


class PublicLibrary(AgentComms, Library):
    """The same with a name that others can ask, and a task that it takes."""

    def __init__(self, books):
        self.name = "library"
        super().__init__(books)

    async def agentic_run(self, message: Message):
        print(f"{message.sender} wants a list, at priority {message.priority}", flush=True)
        return sorted(self.books, key=self.books.get)

    async def on_broadcast(self, message):
        print(f"{message.sender} tells everyone: {message.payload}", flush=True)


if __name__ == "__main__":
    about = {"capabilities": ["books"], "description": "knows when a book was published"}
    asyncio.run(PublicLibrary(BOOKS).run_with_nats(**about, signals=True))
