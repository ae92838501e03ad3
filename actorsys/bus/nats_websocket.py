"""nats-py over a websocket, with the repairs it needs (2.16): no deprecated argument of aiohttp, and an end without waiting."""

from typing import Any
from urllib.parse import ParseResult

from nats.aio import transport
from nats.aio.transport import WebSocketTransport


class WebSocket(WebSocketTransport):
    _response: Any = None
    _socket: Any = None

    def __init__(self) -> None:
        import aiohttp

        transport.aiohttp = aiohttp  # type: ignore[attr-defined]  # see `nats_light`
        super().__init__()

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
        ws: Any = await self._client.ws_connect(url, max_msg_size=0, **options)
        self._ws, self._response, self._socket = ws, ws._response, ws._conn.transport

    # The original ends with the closing handshake, which a frozen server never answers, and leaves the session open when that fails.

    def close(self) -> None:
        """Nothing yet: `wait_closed` always follows."""

    async def wait_closed(self) -> None:
        """Close the socket once the kernel has what was sent; for those who cannot wait there is `abandon`."""
        session: Any = self._client  # None once it is closed
        if self._response is not None:
            self._response.close()
        if session is not None:
            await session.close()
        self._client = None  # type: ignore[assignment]

    def abandon(self) -> None:
        """Let go of the socket now."""
        if self._socket is not None:
            self._socket.abort()
