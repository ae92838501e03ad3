"""Which requests are waiting for an answer?

All answers of a bus come to one inbox, `{prefix}.{random}.*`; the last token says which request is meant. The inbox stays the
same across connections, so an answer that was under way when the server restarted still arrives.
"""

import asyncio
from itertools import count
from secrets import token_hex

from ..errors import ActorError, AskTimeout, UnknownAgent
from .base import Incoming

NO_RESPONDERS = "503"


class Asks:
    def __init__(self, prefix: str) -> None:
        self._prefix = f"{prefix}.{token_hex(11)}."
        self.inbox = self._prefix + "*"
        self._numbers = count(1)
        self._open: dict[str, tuple[str, asyncio.Future[Incoming]]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, subject: str) -> tuple[str, asyncio.Future[Incoming]]:
        """The reply subject for a new request, and the future of its answer; `forget` it on every path."""
        reply = f"{self._prefix}{next(self._numbers)}"
        future: asyncio.Future[Incoming] = asyncio.get_running_loop().create_future()
        self._open[reply] = subject, future
        return reply, future

    def owns(self, subject: str) -> bool:
        """Whether a subject is one of our inbox."""
        return subject.startswith(self._prefix)

    def forget(self, reply: str) -> None:
        self._open.pop(reply, None)

    def deliver(self, incoming: Incoming) -> None:
        """Hand an answer to who waits for it; a late one is nobody's."""
        subject, future = self._open.get(incoming.subject, ("", None))
        if future is None or future.done():
            return
        headers = incoming.headers
        if headers and not incoming.payload and headers.get("Status") == NO_RESPONDERS:
            future.set_exception(nobody(subject))
        else:
            future.set_result(incoming)

    def fail(self, error: ActorError, subject: str | None = None) -> None:
        """End the requests to one subject, or all of them, with an error. Compared as the server spells it: in lower case."""
        for asked, future in list(self._open.values()):
            if not future.done() and (subject is None or asked.lower() == subject):
                future.set_exception(error)


def nobody(subject: str) -> UnknownAgent:
    return UnknownAgent(f"nobody listens on {subject!r} on NATS. `actorsys agents` lists who does.")


def too_late(subject: str, timeout: float) -> AskTimeout:
    return AskTimeout(f"no answer on {subject!r} within {timeout:g} s; whoever got the request may still work on it.")
