"""nats-py over a websocket, with the repairs it needs (2.16): no deprecated argument of aiohttp, and an end without waiting."""

import asyncio
from contextlib import suppress
from typing import Any
from urllib.parse import ParseResult

from nats.aio.transport import WebSocketTransport


class WebSocket(WebSocketTransport):
    # How long connecting may take is watched from outside; nats-py hands its timeout to aiohttp as that of closing.

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        await self._open(uri.geturl())
        self._using_tls = False

    async def connect_tls(self, uri: "str | ParseResult", ssl_context: Any, buffer_size: int, connect_timeout: int) -> None:
        if self._using_tls:  # the URL is wss: already done
            return
        await self._open(uri if isinstance(uri, str) else uri.geturl(), ssl=ssl_context)
        self._using_tls = True

    async def _open(self, url: str, **options: Any) -> None:
        assert self._client is not None
        self._ws = await self._client.ws_connect(url, max_msg_size=0, **options)

    def abandon(self) -> None:
        """Let go of the socket without the closing handshake."""
        if isinstance(self._close_task, asyncio.Task):
            self._close_task.cancel()
        with suppress(Exception):
            if self._client is not None and self._client.connector is not None:
                self._client.connector.close()
