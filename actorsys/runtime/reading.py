"""Which handler takes a letter, and what does it get?"""

from typing import Any

from ..clock import now_ns, wall
from ..errors import BadMessage
from ..mailbox.codec import DECODE_ERRORS, bad_message, convert, decode
from ..mailbox.letter import LENIENT, REMOTE, Letter
from ..messages import Down, Message
from ..names import nearest
from ..units import SECOND_NS
from .routes import Route
from .state_messages import OURS


class Reading:
    """For the agent `name`, in the run `run` of its node. `routes` and `rest` are there once it is ready; see `rest_routes`."""

    def __init__(self, name: str, run: str) -> None:
        self._name = name
        self._run = run
        self.routes: dict[str, Route] = {}
        self.rest: dict[str, Route] = {}

    def read(self, letter: Letter) -> tuple[Route, Any]:
        """Find the handler of a letter and decode its message for it. Raises BadMessage."""
        if letter.flags & REMOTE:
            return self._read_remote(letter)
        route = self.routes.get(letter.type) or self.routes.get(letter.type.rpartition(":")[2])  # or one of another module
        if route is not None:
            if letter.flags & LENIENT:
                return route, convert(decode(letter.payload), route.type, lenient=True)
            try:
                return route, route.decode(letter.payload)
            except DECODE_ERRORS as error:
                raise bad_message(error, route.type.__name__) from error
        payload = decode(letter.payload)
        if not letter.type and isinstance(payload, dict):
            route = self.routes.get(kind) if isinstance(kind := payload.get("type"), str) else None
            if route is not None:
                fields = {name: value for name, value in payload.items() if name != "type"}
                return route, convert(fields, route.type, lenient=bool(letter.flags & LENIENT))
        return self._read_rest(letter, payload)

    def _read_remote(self, letter: Letter) -> tuple[Route, Any]:
        """The same for one that came as JSON: its fields are what JSON can say, its type may be known here under another module."""
        payload = decode(letter.payload)
        fields, route = payload, None
        if letter.type:
            route = self.routes.get(letter.type) or self.routes.get(letter.type.rpartition(":")[2].rpartition(".")[2])
        elif isinstance(payload, dict) and isinstance(kind := payload.get("type"), str):
            route = self.routes.get(kind)
            fields = {name: value for name, value in payload.items() if name != "type"}
        kind = (letter.headers or {}).get("kind", "")
        if route is None or route.type is Down or kind == "notice":  # news about work, never work itself
            return self._read_rest(letter, payload, kind)
        return route, convert(fields, route.type, lenient=bool(letter.flags & LENIENT), from_json=True)

    def _read_rest(self, letter: Letter, payload: Any, hook: str = "") -> tuple[Route, Any]:
        """A letter that no handler takes."""
        route = self.rest.get(hook) or self.rest.get("")
        if route is not None:
            return route, self.as_message(letter, payload)
        kind = letter.type or (payload.get("type") if isinstance(payload, dict) else None)
        raise self._unknown(kind.rpartition(":")[2] if isinstance(kind, str) else "")

    def _unknown(self, kind: str) -> BadMessage:
        """The error for a message that no handler takes."""
        names = sorted({route.type.__name__ for route in self.routes.values() if route.type not in OURS})
        near = nearest(kind, names)
        hint = f"did you mean {near}?" if near else f"it takes {', '.join(names) or 'nothing'}."
        return BadMessage(f"{self._name!r} takes no {kind or 'messages without a type'}; {hint}", field="type")

    def as_message(self, letter: Letter, payload: Any) -> Message:
        """A letter as `receive` sees it, and `Agent.message`."""
        headers = letter.headers or {}
        return Message(
            id=headers.get("message_id") or f"{self._run}.{letter.id}",
            sender=letter.sender,
            to=self._name,
            type=letter.type or (payload.get("type", "") if isinstance(payload, dict) else ""),
            payload=payload,
            metadata=headers.get("metadata") or {},
            timestamp=headers.get("timestamp") or wall(),
            in_reply_to=headers.get("in_reply_to"),
            priority=letter.priority,
            deadline=(letter.deadline - now_ns()) / SECOND_NS if letter.deadline else None,
        )
