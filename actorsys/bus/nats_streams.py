"""Does a JetStream stream capture requests? Then its acknowledgement reaches who asks before the answer does."""

import msgspec
from msgspec import Struct

from ..errors import ActorError
from .base import Bus

REQUESTS = "agents.request.>"
TIMEOUT = 5.0  # seconds


class _Names(Struct):
    streams: list[str] | None = None


async def capturing(bus: Bus) -> list[str]:
    """The streams that capture requests; none where there is no JetStream, or where we may not ask for them."""
    try:
        answer = await bus.request("$JS.API.STREAM.NAMES", msgspec.json.encode({"subject": REQUESTS}), TIMEOUT)
        return msgspec.json.decode(answer.payload, type=_Names).streams or []
    except (ActorError, msgspec.MsgspecError):
        return []
