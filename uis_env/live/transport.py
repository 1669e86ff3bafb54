"""How a request reaches an endpoint: the official `openai` SDK, used for one attempt at a time."""

from __future__ import annotations

import os
import re
import socket
import ssl
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from uis_env.live.pool import Endpoint

CONNECT_SECONDS = 10.0
"""A connection that takes longer to open is none; nothing was sent."""
SHORTEST_KEY = 16
"""Keys with fewer characters (`none`, `token`) are no secrets: they are words of ordinary texts."""
_UNSENT = ("ConnectError", "ConnectTimeout", "LocalProtocolError", "UnsupportedProtocol", "InvalidURL", "ProxyError")
_OF_TRANSFER = ("content-encoding", "content-length", "transfer-encoding")
_KEPT = re.compile(r"retry-after(-ms)?|location|x-ratelimit-.*")


class Raw(NamedTuple):
    """An HTTP response: status, body, and the headers (lower case) that say where to go or how long to wait."""

    status: int
    text: str
    headers: Mapping[str, str] = {}


class NoResponseError(Exception):
    """No response came.

    Attributes:
        error: "timeout", "connection", "too large", "unreachable", or the name of an exception.
        detail: what the network said; never a part of the request.
        sent: False where nothing can have reached the endpoint.
    """

    def __init__(self, error: str, detail: str = "", sent: bool = True) -> None:
        super().__init__(error)
        self.error, self.detail, self.sent = error, detail, sent


class Transport(Protocol):
    """Sends one request, once."""

    async def send(self, endpoint: Endpoint, path: str, body: Mapping[str, Any], call: str) -> Raw:
        """Posts `body` to `path` below the base URL. Raises NoResponseError if no response comes."""

    async def close(self) -> None:
        """Closes all connections."""


class TooLargeError(Exception):
    """The body is longer than the endpoint's `max_bytes`."""


class OpenAITransport:
    """One SDK client per endpoint, its retries off: every attempt belongs into the ledger.

    Redirects are not followed. Bodies are read up to the endpoint's `max_bytes`, after decompression. Keys are read
    from the environment here and live in the SDK's clients only.

    Raises:
        ImportError: if the `[live]` extra is not installed.
        ValueError: naming an endpoint's environment variable that is not set or holds no key.
    """

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        try:
            import openai
        except ImportError:
            raise ImportError("live endpoints need the `openai` package: pip install 'uis-env[live]'") from None
        self._sdk = openai
        self._clients: dict[str, openai.AsyncOpenAI] = {}
        for endpoint in endpoints:
            client = openai.AsyncOpenAI(
                base_url=endpoint.base_url,
                # Without a key the SDK would send OPENAI_API_KEY to whatever server this is.
                api_key=_key(endpoint) or "none",
                max_retries=0,
                timeout=openai.Timeout(endpoint.timeout, connect=min(CONNECT_SECONDS, endpoint.timeout)),
                http_client=_http_client(openai.DefaultAsyncHttpxClient, endpoint.max_bytes),
            )
            # The SDK takes both from the environment and would send them to every endpoint.
            client.organization, client.project = endpoint.organization, endpoint.project
            self._clients[endpoint.name] = client

    async def send(self, endpoint: Endpoint, path: str, body: Mapping[str, Any], call: str) -> Raw:
        """Posts `body` to `path` below the base URL. Raises NoResponseError if no response comes."""
        client = self._clients[endpoint.name]
        try:
            text = await client.post(path, body=body, cast_to=str, options={"headers": {"X-Client-Request-Id": call}})
            return Raw(200, text)
        except self._sdk.APIStatusError as error:
            kept = {name.lower(): value for name, value in error.response.headers.items() if _KEPT.match(name.lower())}
            return Raw(error.status_code, error.response.text, kept)
        except Exception as error:  # whatever a broken server provokes in the HTTP stack
            problem = _problem(error)
        raise problem

    async def close(self) -> None:
        """Closes all connections."""
        for client in self._clients.values():
            await client.close()


def without_key(text: str, endpoint: Endpoint) -> str:
    """A decoded string of a response without the endpoint's key, which some servers echo."""
    key = os.environ.get(endpoint.key_env, "") if endpoint.key_env else ""
    return text.replace(key, "[key]") if len(key) >= SHORTEST_KEY else text


def _key(endpoint: Endpoint) -> str | None:
    if endpoint.key_env is None:
        return None
    key = os.environ.get(endpoint.key_env)
    where = f"endpoint {endpoint.name!r}: environment variable {endpoint.key_env}"
    if not key:
        raise ValueError(f"{where} is not set")
    if not re.fullmatch(r"[!-~]+", key):
        raise ValueError(f"{where} holds white space or characters outside ASCII, expected one key")
    return key


def _http_client(base: Any, most: int) -> Any:
    """The SDK's HTTP client, which hands on whole decoded bodies of at most `most` bytes, or raises TooLargeError."""
    # The HTTP library of the SDK; its name depends on the SDK's version.
    library = sys.modules[base.__mro__[1].__module__.partition(".")[0]]

    class Limited(base):  # type: ignore[misc]
        async def send(self, request: Any, *, stream: bool = False, **settings: Any) -> Any:
            response = await super().send(request, stream=True, **settings)
            body = bytearray()
            try:
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > most:
                        raise TooLargeError
            finally:
                await response.aclose()
            kept = [pair for pair in response.headers.multi_items() if pair[0].lower() not in _OF_TRANSFER]
            return library.Response(response.status_code, headers=kept, content=bytes(body), request=request)

    return Limited(follow_redirects=False)


def _problem(error: Exception) -> NoResponseError:
    """What a failure of the HTTP stack means."""
    chain = list(_causes(error))
    names = [type(one).__name__ for one in chain]
    if any(isinstance(one, TooLargeError) for one in chain):
        return NoResponseError("too large", "the body is longer than max_bytes")
    if any(name in _UNSENT for name in names) or any(isinstance(one, UnicodeEncodeError) for one in chain):
        return NoResponseError("unreachable", _network(chain), sent=False)
    if any("Timeout" in name for name in names):
        return NoResponseError("timeout")
    if "APIConnectionError" in names:
        return NoResponseError("connection")
    return NoResponseError(names[0])


def _network(chain: list[BaseException]) -> str:
    """What the network said, in words."""
    for one in chain:
        if isinstance(one, socket.gaierror):
            return "the host's name cannot be resolved"
        if isinstance(one, ConnectionRefusedError):
            return "connection refused"
        if isinstance(one, ssl.SSLError):
            return f"TLS: {one.reason or 'refused'}"
        if isinstance(one, UnicodeEncodeError):
            return "the request cannot be encoded"
    return next((type(one).__name__ for one in chain if type(one).__name__ in _UNSENT), "")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what it came from, exceptions of a group included."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__]
        waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
