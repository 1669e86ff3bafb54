"""A recording of many queries while everything goes wrong at once: nothing lost or doubled, every dollar known."""

from __future__ import annotations

import json
import math
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("openai")

from tests.live.server import FAULTS, FaultyServer, agree, journal_calls
from uis_env import load_world
from uis_env.costs import ModelCard, Price
from uis_env.live.__main__ import main
from uis_env.live.journal import CallJournal, read_rows
from uis_env.live.ledger import Tokens, price_of

CARD = ModelCard("m", price=Price(1.0, 4.0, 0.5, 2.0))
CONFIG = """
[endpoints.e]
base_url = "{url}"
timeout = 1.0
retries = 3
backoff = 0.002
concurrency = 24

[models.m]
endpoint = "e"
max_n = 4
price = {{ input = 1.0, cached = 0.5, output = 4.0, written = 2.0 }}

[queries]
file = "queries.jsonl"
verifier = "numeric"

[record]
direct = 2
"""


def soak(folder: Path, queries: int, kills: int) -> None:
    rng = random.Random(kills)
    rows = [{"id": f"q{i}", "question": f"What is {i} + {i % 7}?", "answer": str(i + i % 7)} for i in range(queries)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config, out = folder / "c.toml", folder / "rec"
    with FaultyServer(rate=0.25, patience=1.4) as server, (folder / "log").open("ab") as log:
        config.write_text(CONFIG.format(url=server.url))

        def start(limit: float) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", "uis_env.live", "record", str(config), "--out", str(out), "--resume"]
            command += ["--max-dollars", str(limit)]
            return subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=log, stderr=log)

        limit = 1e-5 * queries
        assert start(limit).wait(timeout=600) == 1
        assert _spent(out) <= limit
        refused = 0
        for _ in range(kills):
            target = len(server.served) + rng.randrange(queries // kills, 2 * queries // kills)
            process, other = start(100.0), start(100.0)
            while process.poll() is None and len(server.served) < target:
                time.sleep(0.002)
            for one in (process, other):
                refused += one.poll() == 2
                one.send_signal(signal.SIGKILL)
                one.wait()
        status = 1
        for _ in range(6):  # what failed for good is asked for again
            status = status and start(100.0).wait(timeout=1200)
        assert status == 0
        assert refused
        served = math.fsum(price_of(CARD, Tokens(*record.tokens)) for record in server.served)
        faults = {record.fault for record in server.served}
        _compare(server, out)
    assert len(faults & set(FAULTS)) > 0.5 * len(FAULTS)
    assert queries < 1000 or set(FAULTS) - faults <= {"422 n"}  # n = 1 is never refused
    assert served <= _spent(out) <= 100.0
    samples = Counter((row["query_id"], row["sample"]) for row in read_rows(out / "m.direct.jsonl"))
    assert samples == Counter((f"q{i}", s) for i in range(queries) for s in range(2))
    assert main(["build", str(config), str(out), "--out", str(folder / "Own")]) == 0
    world = load_world(folder / "Own")
    assert len(world.query_ids) > 0.9 * queries
    assert {"quality", "score", "dollars", "tokens"} <= world.channels.present().keys()


def _spent(out: Path) -> float:
    journal = CallJournal(out / "calls.jsonl")
    journal.close()
    return journal.spent


def _compare(server: FaultyServer, out: Path) -> None:
    """The calls that ended agree with the server's ledger; those that a kill cut off are in the journal as started."""
    started = {row["start"] for row in read_rows(out / "calls.jsonl") if "start" in row}
    calls = journal_calls(out / "calls.jsonl")
    assert {record.id for record in server.served} <= started
    ended = {call.id for call in calls}
    server.served = [record for record in server.served if record.id in ended]
    agree(server, calls, CARD)


def test_a_hundred_queries_two_kills(tmp_path: Path) -> None:
    soak(tmp_path, 120, 2)


@pytest.mark.slow
def test_two_thousand_queries_twenty_kills(tmp_path: Path) -> None:
    soak(tmp_path, 2000, 20)
