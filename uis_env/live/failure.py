"""Failures: which may pass, which say nothing about the arm that met them, and what to check."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from uis_env.live.pool import Endpoint, Model
from uis_env.live.reply import Reply

IN_A_ROW = 5
"""A run stops after this many requests in a row that an endpoint did not serve."""
LOST_IN_A_ROW = 10
"""And after this many that failed in any other way, once it has served some."""
_MAY_PASS = (408, 409, 425, 429)
_QUOTA = ("insufficient_quota", "quota_exceeded", "billing", "insufficient_balance", "exceeded_current_quota")
_LONGEST = 1e9  # seconds
_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d{1,9}(?:\.\d{1,9})?(?:ms|[smhd]))+")


def status_of(error: str) -> int | None:
    """The HTTP status of an error "http ...", else None."""
    return int(error.removeprefix("http ")) if error.startswith("http ") else None


def may_pass(reply: Reply) -> bool:
    """Whether the same request may succeed later: not after a 3xx or 4xx, save for the few that say so."""
    if reply.error is None or reply.error == "too large" or out_of_quota(reply):
        return False
    status = status_of(reply.error)
    return status is None or status >= 500 or status in _MAY_PASS


def out_of_quota(reply: Reply) -> bool:
    """Whether the account has no money or quota left, so that waiting does not help."""
    status = status_of(reply.error or "")
    return status == 402 or (status in (403, 429) and any(word in reply.code for word in _QUOTA))


def unserved(reply: Reply) -> bool:
    """Whether the endpoint cannot be used as configured: no connection, no permission, nothing there, a redirect.

    A 403 may also be a verdict on one prompt (a moderation); then it is an outcome.
    """
    status = status_of(reply.error or "")
    if status == 403:
        return "moderation" not in reply.code
    return reply.error == "unreachable" or status in (401, 404) or (status is not None and 300 <= status < 400)


def told_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait: `retry-after-ms`, `Retry-After` (seconds or a date), or the time when its
    rate limits are renewed; None if it says nothing that can be read.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    if "retry-after" in headers:
        return _seconds(headers["retry-after"])
    resets = [
        _seconds(value)
        for name, value in headers.items()
        if name.startswith("x-ratelimit-reset") and _number(headers.get(name.replace("reset", "remaining"), "0")) == 0
    ]
    return max((seconds for seconds in resets if seconds is not None), default=None)


@dataclass
class Health:
    """Whether it still makes sense to ask an endpoint.

    Attributes:
        endpoint: which.
        stopped: why not, and what to check, in one line; None while it does.
        answered: models that have answered.
    """

    endpoint: Endpoint
    stopped: str | None = None
    answered: set[str] = field(default_factory=set)
    _row: dict[str, int] = field(default_factory=dict)
    _seen: dict[str, float] = field(default_factory=dict)

    def served(self, model: Model) -> None:
        """A request was answered."""
        self.answered.add(model.name)
        for kind in ("unreachable", "429", model.name, f"lost {model.name}"):
            self._row.pop(kind, None)

    def failed(self, model: Model, reply: Reply, begin: float) -> bool:
        """A request failed for good, its last attempt sent at `begin` (monotonic); returns whether that says nothing
        about the arm: the endpoint did not serve it, or has never served this model.
        """
        if out_of_quota(reply):
            self._stop(f"the quota is exhausted: {describe(reply)}")
            return True
        if reply.error == "http 429":
            self._count("429", IN_A_ROW, model, reply, begin)
            return True
        if unserved(reply):
            kind = "unreachable" if reply.error == "unreachable" else model.name
            self._count(kind, IN_A_ROW, model, reply, begin)
            return True
        new = model.name not in self.answered
        self._count(f"lost {model.name}", IN_A_ROW if new else LOST_IN_A_ROW, model, reply, begin)
        return new

    def asked_to_wait(self, seconds: float, reply: Reply) -> None:
        """It asks to wait for longer than the endpoint's `max_wait`."""
        again = datetime.fromtimestamp(time.time() + seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        self._stop(
            f"it asks to wait {seconds:.0f} s (max_wait is {self.endpoint.max_wait:g}): "
            f"go on after {again} ({describe(reply)})"
        )

    def _count(self, kind: str, most: int, model: Model, reply: Reply, begin: float) -> None:
        """Counts a failure; those of calls that were in flight at once count as one."""
        if begin < self._seen.get(kind, 0.0):
            return
        self._seen[kind] = time.monotonic()
        self._row[kind] = self._row.get(kind, 0) + 1
        if self._row[kind] >= most:
            self._stop(f"{describe(reply)}, {self._row[kind]} times in a row; {advice(model, reply)}")

    def _stop(self, reason: str) -> None:
        self.stopped = self.stopped or f"endpoint {self.endpoint.name!r}: {reason}"


def describe(reply: Reply) -> str:
    """An error with what the server said about it."""
    return f"{reply.error}: {reply.detail}" if reply.detail else f"{reply.error}"


def advice(model: Model, reply: Reply) -> str:
    """What to check after an error."""
    endpoint, status = model.endpoint, status_of(reply.error or "")
    path = urlsplit(endpoint.base_url).path.rstrip("/")
    if reply.error == "unreachable":
        return f"check that a server runs at base_url = {endpoint.base_url!r}"
    if status == 401:
        held = f"the key in {endpoint.key_env}" if endpoint.key_env else "key_env (none is set, so no key was sent)"
        return f"check {held}"
    if status == 403:
        return f"check that the key may use {model.id!r}"
    if status is not None and 300 <= status < 400:
        return "redirects are not followed: check base_url"
    if status == 404 and not re.search(r"/v\d", path):
        return f"base_url has no /v1: try {endpoint.base_url.rstrip('/') + '/v1'!r}, and check id = {model.id!r}"
    if status == 404:
        return f"check base_url = {endpoint.base_url!r} and id = {model.id!r}"
    if status is not None and status < 500:
        return "check the config against what the server says (`omit` leaves fields out)"
    return "check the server"


def _number(text: str | None) -> float | None:
    """A number >= 0; None for anything else."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return min(max(0.0, value), 1e13) if math.isfinite(value) else None


def _seconds(text: str) -> float | None:
    """Seconds of a number, a duration (`6m0s`), a date, or a moment since 1970 in seconds or milliseconds."""
    text = text.strip()
    if _DURATION.fullmatch(text):
        parts = re.findall(r"(\d+(?:\.\d+)?)(ms|[smhd])", text)
        return min(sum(float(number) * _UNITS[unit] for number, unit in parts), _LONGEST)
    value = _number(text)
    if value is None:
        return _until(text)
    moment = next((moment for moment in (value, value / 1000) if 1e9 <= moment < 1e10), None)
    return min(value, _LONGEST) if moment is None else max(0.0, moment - time.time())


def _until(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return min(max(0.0, (moment - datetime.now(UTC)).total_seconds()), _LONGEST)
    except (ValueError, TypeError, OverflowError):
        return None
