"""A provider over its vendor's SDK: that does HTTP, keys and server-sent events; ours are the form of the calls and the errors.

What many agents can share is made once, in the zygote: the SDK's modules and the TLS context (`warm`).
"""

import asyncio
import email.utils
import functools
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import msgspec
from msgspec import structs

from ..errors import BadModelCall, ModelAuthError, ModelError, ModelUnavailable
from .base import Call, Completion, Turn
from .model_errors import cannot_do_schemas, model_error, one_line, redact, seconds_or_none
from .schema import json_in
from .wire import Failed, Wire, told_the_schema

CONNECT_TIMEOUT = 5.0  # seconds
_WARM_CALLS = 3
PLACEHOLDER = "not-needed"  # a server of one's own wants no key, but the SDKs do

Sdk = Callable[[], ModuleType]
Make = Callable[[str, str, Any], Any]


class SdkProvider:
    """`make` gives the SDK's asynchronous client for an address, a key and an http client; `variable` is where people put the key."""

    def __init__(self, name: str, wire: Wire, url: str, *, base_url: str, key: str, variable: str, sdk: Sdk, make: Make) -> None:
        self.name = name
        self._wire = wire
        self._url = base_url or url
        self._key = key.strip()
        self._is_keyless = not self._key and not base_url
        self._variable = variable
        self._sdk = sdk
        self._make = make
        self._client: Any = None
        self._is_schemaless = False  # the server refused a schema: from then on the model is asked in words

    def __repr__(self) -> str:
        return f"{type(self).__name__}({redact(self._url)!r})"

    def ready(self, call: Call) -> None:
        """Import the SDK and make the client, so that a call is sent at once. Raises ModelError."""
        with self._our_errors(call):
            if self._client is None and not self._is_keyless:
                self._open()
                import anyio

                anyio.Event()  # imports what the first connection would

    async def complete(self, call: Call) -> Completion:
        """One call. Raises ModelError only; `ModelUnavailable` when there is no answer within the call's timeout."""
        with self._our_errors(call):
            begin = time.monotonic()
            async with asyncio.timeout(call.timeout):
                answer = await self._post(call)
            completion = self._wire.read(answer)
        if call.schema is not None and not completion.tool_calls:
            completion = structs.replace(completion, text=json_in(completion.text))
        return self._signed(completion, call, begin)

    async def stream(self, call: Call) -> AsyncIterator[str | Completion]:
        """One call, piece by piece. The call's timeout is the longest wait for the next piece. Raises ModelError only."""
        with self._our_errors(call):
            begin = time.monotonic()
            events = await self._post(call, stream=True)
        reader = self._wire.reader()
        try:
            with self._our_errors(call):
                async for event in events:
                    if isinstance(event, dict) and (piece := reader.feed(event)):
                        piece.encode()  # raises for half of a surrogate pair, which no message can carry
                        yield piece
                completion = reader.completion()
            if completion is None:
                raise self._unavailable(call, "it ended before the answer was complete")
        finally:
            await events.close()
        yield self._signed(completion, call, begin)

    async def close(self) -> None:
        """Close its connections; a later call opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def warm(self) -> None:
        """In the zygote: make some calls that go nowhere, so that all agents share what a call imports and makes.

        Code that has run is not changed by its first runs any more: 1 MiB of unshared pages an agent less.
        """
        asyncio.run(self._call_nobody())

    async def _call_nobody(self) -> None:
        """Calls over loopback, answered with what is no answer."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            self._url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            self._open(trust_env=False)  # not through a proxy
            for _ in range(_WARM_CALLS):
                try:
                    await self.complete(Call((Turn("user", "warm"),), model="none", timeout=1.0))
                except ModelError:
                    pass
            await self.close()

    def _open(self, *, trust_env: bool = True) -> None:
        http_client = self._sdk().DefaultAsyncHttpxClient(verify=tls_context(), trust_env=trust_env, follow_redirects=False)
        self._client = self._make(self._url, self._key or PLACEHOLDER, http_client)
        if sys.platform == "linux":
            # Both SDKs would start a thread to ask this: 0.6 MiB in each agent, and from a zygote that has a thread nothing is forked.
            self._client._platform = "Linux"

    async def _post(self, call: Call, *, stream: bool = False) -> Any:
        """The answer's text, or its events. A server that knows no schemas is asked again without one, and remembered."""
        if call.schema is None:
            return await self._send(call, stream)
        if not self._is_schemaless:
            try:
                with self._our_errors(call):
                    return await self._send(call, stream)
            except BadModelCall as error:
                if not cannot_do_schemas(error):
                    raise
            self._is_schemaless = True
        return await self._send(told_the_schema(call), stream)

    async def _send(self, call: Call, stream: bool) -> Any:
        import httpx2

        sdk = self._sdk()
        if self._is_keyless:
            text = f"there is no key for {self.name}: set {self._variable}, or base_url for a server of your own."
            raise ModelAuthError(text, provider=self.name, model=call.model)
        if not (self._key.isascii() and self._key.isprintable()):
            # Asked here: the text of httpx would show the key, in a form that `redact` does not know.
            text = f"the key for {self.name} holds characters that no header may have: set {self._variable} anew."
            raise ModelAuthError(text, provider=self.name, model=call.model)
        if self._client is None:
            self._open()
        options = {"timeout": httpx2.Timeout(call.timeout, connect=min(CONNECT_TIMEOUT, call.timeout)), "max_retries": 0}
        body = self._wire.body(call)
        if not stream:
            return await self._client.post(self._wire.path, body=body, cast_to=str, options=options)
        body["stream"] = True
        if self._wire.path == "/chat/completions":
            body["stream_options"] = {"include_usage": True}
        return await self._client.post(
            self._wire.path, body=body, cast_to=object, options=options, stream=True, stream_cls=sdk.AsyncStream[object]
        )

    def _signed(self, completion: Completion, call: Call, begin: float) -> Completion:
        model = completion.model or call.model
        return structs.replace(completion, provider=self.name, model=model, latency=time.monotonic() - begin)

    @contextmanager
    def _our_errors(self, call: Call) -> Iterator[None]:
        """What goes wrong inside becomes a ModelError. `from None`: the SDK's own text may hold the key, and a traceback would print it."""
        import httpx2

        sdk = self._sdk()
        try:
            yield
        except ModelError:
            raise
        except sdk.APIStatusError as error:
            raise self._of_status(call, error) from None
        except Failed as error:
            raise model_error(self.name, call.model, None, error.kind, error.message, secrets=(self._key,)) from None
        except (TimeoutError, sdk.APITimeoutError, httpx2.TimeoutException):
            raise self._unavailable(call, f"no answer within {call.timeout:g} s") from None
        except (sdk.APIConnectionError, httpx2.HTTPError, OSError) as error:
            cause = error.__cause__ or error
            if isinstance(cause, httpx2.UnsupportedProtocol):
                raise self._no_address(call, cause) from None
            raise self._unavailable(
                call, f"{redact(self._url)} cannot be reached, or hung up ({type(cause).__name__}: {cause})"
            ) from None
        except sdk.APIError as error:  # in the middle of a stream
            body = error.body if isinstance(error.body, dict) else {}
            kind = str(body.get("code") or body.get("type") or "")
            raise model_error(self.name, call.model, None, kind, error.message, secrets=(self._key,)) from None
        except httpx2.InvalidURL as error:
            raise self._no_address(call, error) from None
        except (ValueError, msgspec.MsgspecError, RecursionError, OverflowError) as error:
            raise self._unavailable(call, f"its answer cannot be read ({error})") from None

    def _of_status(self, call: Call, error: Any) -> ModelError:
        body = error.body if isinstance(error.body, dict) else {}
        # OpenAI's SDK gives what is under "error", Anthropic's the whole.
        inner = body.get("error", body)
        inner = inner if isinstance(inner, dict) else {"message": inner}
        words = " ".join(str(inner[key]) for key in ("code", "type") if inner.get(key))
        message = str(inner.get("message") or error.message)
        after = _retry_after(error.response.headers)
        return model_error(
            self.name,
            call.model,
            error.status_code,
            words,
            message,
            retry_after=seconds_or_none(inner.get("retry_after")) if after is None else after,
            secrets=(self._key,),
        )

    def _no_address(self, call: Call, error: BaseException) -> BadModelCall:
        text = f"{self.name} cannot be asked at {redact(self._url)!r}: {error}"
        return BadModelCall(text, provider=self.name, model=call.model)

    def _unavailable(self, call: Call, why: str) -> ModelUnavailable:
        text = one_line(f"{self.name} gave no answer for model {call.model!r}: {why}.", self._key)
        return ModelUnavailable(text, provider=self.name, model=call.model)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that the headers tell us to wait; they may come as milliseconds, seconds or a date."""
    for header, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (seconds := seconds_or_none(headers.get(header))) is not None:
            return seconds * scale
    try:
        return max(0.0, email.utils.parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def tls_context() -> Any:
    """The TLS context of this process: to build one reads the whole list of authorities. One for each list, if an agent has its own."""
    return _tls_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@functools.cache
def _tls_context(file: str | None, folder: str | None) -> Any:
    import httpx2

    return httpx2.create_ssl_context()
