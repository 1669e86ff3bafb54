"""How a request reaches an endpoint: the official `openai` SDK, used for one attempt at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from uis_env.live.pool import Endpoint


class Raw(NamedTuple):
    """An HTTP response: status, body and the value of its `Retry-After` header."""

    status: int
    text: str
    retry_after: str | None = None


class NoResponseError(Exception):
    """The message is "timeout", "connection" or the name of an exception, nothing else."""


class Transport(Protocol):
    """Sends one request, once."""

    async def send(self, endpoint: Endpoint, path: str, body: Mapping[str, Any], call: str) -> Raw:
        """Posts `body` to `path` below the base URL. Raises NoResponseError if no response comes."""

    async def close(self) -> None:
        """Closes all connections."""


class OpenAITransport:
    """One SDK client per endpoint, its retries off: every attempt belongs into the ledger.

    Keys are read from the environment here, live in the SDK's clients only, and are cut out of every response (some
    servers echo them).

    Raises:
        ImportError: if the `[live]` extra is not installed.
        ValueError: naming an endpoint's environment variable that is not set.
    """

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        try:
            import openai
        except ImportError:
            raise ImportError("live endpoints need the `openai` package: pip install 'uis-env[live]'") from None
        self._sdk = openai
        self._clients: dict[str, openai.AsyncOpenAI] = {}
        for endpoint in endpoints:
            if endpoint.key_env and not os.environ.get(endpoint.key_env):
                raise ValueError(f"endpoint {endpoint.name!r}: environment variable {endpoint.key_env} is not set")
            self._clients[endpoint.name] = openai.AsyncOpenAI(
                base_url=endpoint.base_url,
                # Without a key the SDK would send OPENAI_API_KEY to whatever server this is.
                api_key=os.environ[endpoint.key_env] if endpoint.key_env else "none",
                max_retries=0,
                timeout=endpoint.timeout,
            )

    async def send(self, endpoint: Endpoint, path: str, body: Mapping[str, Any], call: str) -> Raw:
        """Posts `body` to `path` below the base URL. Raises NoResponseError if no response comes."""
        client = self._clients[endpoint.name]
        try:
            text = await client.post(path, body=body, cast_to=str, options={"headers": {"X-Client-Request-Id": call}})
            return Raw(200, _without_key(text, endpoint))
        except self._sdk.APIStatusError as error:
            headers = error.response.headers
            return Raw(error.status_code, _without_key(error.response.text, endpoint), headers.get("retry-after"))
        except self._sdk.APITimeoutError:
            problem = "timeout"
        except self._sdk.APIConnectionError:
            problem = "connection"
        except Exception as error:  # whatever else a broken server provokes in the HTTP stack
            problem = type(error).__name__
        raise NoResponseError(problem)

    async def close(self) -> None:
        """Closes all connections."""
        for client in self._clients.values():
            await client.close()


def _without_key(text: str, endpoint: Endpoint) -> str:
    return text.replace(os.environ[endpoint.key_env], "[key]") if endpoint.key_env else text
