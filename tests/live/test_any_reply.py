"""Whatever JSON an endpoint answers, a recording ends, resumes without doubling, and builds what is whole."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("openai")

from tests.live.answering import chat
from tests.live.test_failure import write
from tests.live.test_reply import CHAT, JSON
from uis_env.live.build import build
from uis_env.live.config import load_config
from uis_env.live.env import LiveEnv
from uis_env.live.journal import read_rows
from uis_env.live.pool import Endpoint
from uis_env.live.recorder import record
from uis_env.live.transport import Raw

STATUS = st.sampled_from([200] * 8 + [301, 400, 401, 422, 429, 500, 503, 529, 999])
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "retry-after-ms", "location", "x-ratelimit-reset-tokens"]),
    st.text(max_size=4) | st.sampled_from(["0", "0.001", "nan", "1e400", "-1", "9" * 30, "1ms"]),
    max_size=2,
)
REPLIES = st.lists(st.tuples(STATUS, JSON | CHAT, HEADERS), min_size=1, max_size=4)


class Replying:
    """Answers with the replies in turn, every other time as it should."""

    def __init__(self, replies: list[tuple[int, Any, dict[str, str]]]) -> None:
        self.replies, self.count = replies, 0

    async def send(self, endpoint: Endpoint, path: str, body: Mapping[str, Any], call: str) -> Raw:
        self.count += 1
        await asyncio.sleep(0)
        if self.count % 2:
            return Raw(200, json.dumps(chat(*["3"] * body.get("n", 1))))
        status, data, headers = self.replies[self.count // 2 % len(self.replies)]
        return Raw(status, json.dumps(data), headers)

    async def close(self) -> None:
        pass


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(REPLIES)
def test_no_reply_ends_a_recording(replies: list[tuple[int, Any, dict[str, str]]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = load_config(write(folder, "http://127.0.0.1:9/v1", "max_wait = 0.01", queries=6))
        for resume in (False, True):
            report = record(config, folder / "rec", resume=resume, transport=Replying(replies), max_dollars=1.0)
            assert report.stopped is None or report.left
        rows = read_rows(folder / "rec" / "m.direct.jsonl")
        assert max(Counter((row["query_id"], row["sample"]) for row in rows).values(), default=1) == 1
        try:
            world = build(config, folder / "rec")
        except ValueError as error:
            assert "no query has all its samples in a form that can be used" in str(error)
        else:
            assert len(world.query_ids) <= 6


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(REPLIES)
def test_no_reply_ends_an_episode(replies: list[tuple[int, Any, dict[str, str]]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = write(Path(name), "http://127.0.0.1:9/v1", "max_wait = 0.01", queries=6)
        env = LiveEnv(path, transport=Replying(replies), max_dollars=1.0)
        env.reset(seed=0)
        for _ in range(6):
            _, reward, terminated, truncated, info = env.step(0)
            assert -1 <= reward <= 1
            assert truncated is (env.client.stopped is not None or "not served" in str(info["error"]))
            if truncated or terminated:
                break
        env.close()
