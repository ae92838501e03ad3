"""An agent without a trade: it keeps what it is told to keep, and gives back what it is sent."""

from typing import Any

from .. import Agent, Message


class Generic(Agent):
    """`Store`, `Get`, `Delete`, `Clear` and `List` work on its state, as on every agent's; anything else is its own answer.

    State: `last_message`, and in `messages` how many there were.
    """

    async def receive(self, message: Message) -> Any:
        self.state["messages"] = self.state.get("messages", 0) + 1
        self.state["last_message"] = message.payload
        return message.payload
