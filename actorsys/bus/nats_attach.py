"""Which of our subscriptions does the connection of this moment know?"""

import asyncio
from typing import TYPE_CHECKING

from .counters import Counters
from .inbound import Inbound, Inbounds
from .nats_options import NatsOptions

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription

    from .nats_client import Connection


class Attachments:
    def __init__(self, inbounds: Inbounds, counters: Counters, options: NatsOptions) -> None:
        self._inbounds = inbounds
        self._counters = counters
        self._options = options
        self._known: dict[Inbound, Subscription] = {}

    @property
    def is_complete(self) -> bool:
        return all(inbound in self._known for inbound in self._inbounds)

    def clear(self) -> None:
        """The connection is gone, and with it everything it knew."""
        self._known.clear()

    async def add_all(self, client: "Connection") -> None:
        """Tell the server of those it does not know."""
        for inbound in self._inbounds:
            if inbound in self._inbounds and inbound not in self._known:
                await self.add(client, inbound)

    async def add(self, client: "Connection", inbound: Inbound) -> None:
        """Tell the server of one; in effect once a later ping is answered."""
        inbound.refused = ""
        subscription = await client.listen(inbound.subject, inbound.queue, inbound.deliver)
        if inbound in self._inbounds:
            self._known[inbound] = subscription
        else:  # ended meanwhile
            await subscription.unsubscribe()

    async def ask_again(self, client: "Connection") -> None:
        """Tell the server once more of those it refused: it may permit them by now."""
        again = [inbound for inbound in self._inbounds if inbound.refused and inbound in self._known]
        for inbound in again:
            inbound.refused = ""
            if (subscription := self._known.get(inbound)) is not None:
                await client.listen_again(subscription)
        if again:
            await client.ping(self._options.ping_timeout)
        for inbound in again:
            if not inbound.refused:
                self._counters.permitted(inbound.subject)

    async def retire(self) -> None:
        """Let this connection deliver no more; when this returns, all that the server had sent is here."""
        await asyncio.gather(*(subscription.drain() for subscription in self._known.values()))  # type: ignore[no-untyped-call]

    async def leave(self, inbound: Inbound) -> None:
        """End one; when this returns, all that the server had sent for it is here."""
        self._inbounds.leave(inbound)
        subscription = self._known.pop(inbound, None)
        if subscription is None:
            return
        try:
            async with asyncio.timeout(self._options.connect_timeout):
                await subscription.drain()  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001 - the connection is gone, and with it the subscription
            self._counters.last_error = self._options.redact(str(error) or type(error).__name__)
