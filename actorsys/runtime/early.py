"""What reaches other nodes before the agent is ready? Nothing: its NATS connection is opened after `on_start`."""

from typing import Any

from ..errors import Unreachable


class NotReady:
    """Stands where the way to other nodes will be, so that what is sent too early fails at once instead of in vain."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def tell(self, *_: Any, **__: Any) -> Any:
        raise Unreachable(
            f"{self._name} is not ready yet: its connection to NATS is opened after on_start, and until then it reaches the agents "
            "of its own node only. Send it from a handler: `self.after(0, ...)` in on_start is the first one."
        )

    ask = stream = hand_over = broadcast = tell
