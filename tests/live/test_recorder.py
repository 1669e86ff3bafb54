from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

from tests.live.scripted import Scripted, fixed
from tests.live.server import FaultyServer
from uis_env.files import WriteError
from uis_env.live.__main__ import main
from uis_env.live.config import load_config
from uis_env.live.journal import Appender, CallJournal, read_rows
from uis_env.live.recorder import record

KEY = "sk-test-2718281828459045"
POOL = """
[endpoints.e]
base_url = "{url}"
key_env = "UIS_TEST_KEY"
timeout = 3.0
retries = 3
backoff = 0.005
concurrency = {concurrency}

[models.small]
endpoint = "e"
max_n = 4
price = {{ input = 1.0, cached = 0.5, output = 4.0 }}
[models.large]
endpoint = "e"
price = {{ input = 5.0, cached = 2.5, output = 20.0 }}

[queries]
file = "queries.jsonl"
verifier = "numeric"

[styles.steps]
max_tokens = 40

[record]
direct = 6
steps = 3
"""


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UIS_TEST_KEY", KEY)


def write_config(folder: Path, url: str, queries: int = 6, concurrency: int = 4) -> Path:
    rows = [{"id": f"q{i}", "question": f"What is {i} + {2 * i}?", "answer": str(3 * i)} for i in range(queries)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "config.toml").write_text(POOL.format(url=url, concurrency=concurrency))
    return folder / "config.toml"


def check_complete(folder: Path, queries: int) -> None:
    """Every sample of every pool once, and rows that fit together."""
    for model in ("small", "large"):
        for style, samples in (("direct", 6), ("steps", 3)):
            rows = read_rows(folder / f"{model}.{style}.jsonl")
            found = Counter((row["query_id"], row["sample"]) for row in rows)
            assert found == Counter((f"q{i}", s) for i in range(queries) for s in range(samples))
            for row in rows:
                assert (row["model"], row["prompt"]) == (model, style)
                assert row["quality"] == (row["extracted"] == str(3 * int(row["query_id"][1:])))
                assert row["completion_tokens"] >= 1
                assert row["hole"] is None


def no_key_in(folder: Path) -> None:
    assert not [path for path in folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_a_recording_holds_every_sample_and_every_call(tmp_path: Path) -> None:
    with FaultyServer(limit=16) as server:
        config = load_config(write_config(tmp_path, server.url))
        report = record(config, tmp_path / "out")
    assert (report.recorded, report.left, report.failed, report.stopped) == (24, 0, {}, None)
    check_complete(tmp_path / "out", 6)
    calls = read_rows(tmp_path / "out" / "calls.jsonl")
    assert sorted(row["end"] for row in calls if "end" in row) == sorted(record.id for record in server.served)
    assert report.spent == pytest.approx(sum(row["dollars"] for row in calls if "end" in row))
    no_key_in(tmp_path)


def test_faults_cost_retries_and_no_samples(tmp_path: Path) -> None:
    faults = ("429", "500", "drop", "half", "bad json", "empty", "fewer", "503", "no usage")
    with FaultyServer(rate=0.3, faults=faults, limit=16) as server:
        config = load_config(write_config(tmp_path, server.url))
        report = record(config, tmp_path / "out")
        while report.left:
            report = record(config, tmp_path / "out", resume=True)
    check_complete(tmp_path / "out", 6)


def _kill_often(tmp_path: Path, kills: int, queries: int) -> None:
    rng = random.Random(kills)
    out = tmp_path / "out"
    with FaultyServer(rate=0.2, faults=("slow", "429", "drop"), limit=16) as server:
        config = write_config(tmp_path, server.url, queries)
        command = [sys.executable, "-m", "uis_env.live", "record", str(config), "--out", str(out), "--resume"]
        errors = (tmp_path / "errors").open("ab")

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=errors, stdout=errors)

        before: dict[str, bytes] = {}
        for _ in range(kills):
            target = len(server.served) + rng.randrange(1, max(2, 3 * queries // kills))
            process = start()
            while process.poll() is None and len(server.served) < target:
                time.sleep(0.002)
            time.sleep(rng.random() * 0.02)
            process.send_signal(signal.SIGKILL)
            process.wait()
            now = {path.name: path.read_bytes() for path in out.glob("*.*.jsonl")}
            assert all(now[name].startswith(data) for name, data in before.items())
            before = {name: data[: data.rfind(b"\n") + 1] for name, data in now.items()}
        assert start().wait(timeout=120) == 0
        errors.close()
    check_complete(out, queries)
    journal = CallJournal(out / "calls.jsonl")
    journal.close()
    started = {row["start"]: row["dollars"] for row in read_rows(out / "calls.jsonl") if "start" in row}
    assert {record.id for record in server.served} <= started.keys()
    assert 0 < journal.spent <= sum(started.values())
    no_key_in(tmp_path)


def test_three_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    _kill_often(tmp_path, 3, 6)


@pytest.mark.slow
def test_twenty_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    _kill_often(tmp_path, 20, 40)


def test_a_torn_tail_is_cut_and_asked_again(tmp_path: Path) -> None:
    with FaultyServer(limit=16) as server:
        config = load_config(write_config(tmp_path, server.url))
        record(config, tmp_path / "out")
        path = tmp_path / "out" / "small.direct.jsonl"
        whole = path.read_bytes()
        for cut in (1, 100, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:cut])
            report = record(config, tmp_path / "out", resume=True)
            assert report.recorded >= 1
            check_complete(tmp_path / "out", 6)


def test_rows_that_cannot_be_written_name_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Appender(tmp_path / "rows.jsonl")

    def full(file: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(WriteError, match=r"rows\.jsonl cannot be written: No space left on device"):
            rows.write({"a": 1})
    rows.close()


def test_damage_inside_a_recording_is_named(tmp_path: Path) -> None:
    with FaultyServer(limit=16) as server:
        config = load_config(write_config(tmp_path, server.url))
        record(config, tmp_path / "out")
    path = tmp_path / "out" / "small.direct.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:6] + lines[:6]))
    with pytest.raises(ValueError, match=r"small\.direct\.jsonl:7: sample 0 of query 'q\d' is there twice"):
        record(config, tmp_path / "out", resume=True)
    path.write_bytes(b'{"query_id": "q0", "sample": -1}\n')
    with pytest.raises(ValueError, match=r"small\.direct\.jsonl:1: expected query_id and sample"):
        record(config, tmp_path / "out", resume=True)
    path.write_bytes(b"3\n")
    with pytest.raises(ValueError, match=r"small\.direct\.jsonl:1: expected one JSON object"):
        record(config, tmp_path / "out", resume=True)


def test_only_the_same_config_resumes(tmp_path: Path) -> None:
    with FaultyServer(limit=16) as server:
        path = write_config(tmp_path, server.url)
        record(load_config(path), tmp_path / "out")
        with pytest.raises(ValueError, match="holds a recording: pass --resume"):
            record(load_config(path), tmp_path / "out")
        path.write_text(path.read_text().replace("timeout = 3.0", "timeout = 4.0"))
        assert record(load_config(path), tmp_path / "out", resume=True).recorded == 0
        path.write_text(path.read_text().replace("max_tokens = 40", "max_tokens = 41"))
        with pytest.raises(
            ValueError, match=r"small\.steps was recorded with style = .*'max_tokens': 40.*, the config"
        ):
            record(load_config(path), tmp_path / "out", resume=True)


def test_the_dollar_limit_holds_across_runs(tmp_path: Path) -> None:
    with FaultyServer(limit=16) as server:
        config = load_config(write_config(tmp_path, server.url, queries=10))
        spent = []
        for limit in (0.004, 0.004, 0.007, 1.0):
            report = record(config, tmp_path / "out", resume=bool(spent), max_dollars=limit)
            spent.append(report.spent)
            assert report.spent <= limit
            assert (report.stopped == "budget") is (limit < 1)
    assert spent == sorted(spent)
    check_complete(tmp_path / "out", 10)


def test_an_unfinished_call_counts_at_its_worst_case(tmp_path: Path) -> None:
    rows = Appender(tmp_path / "calls.jsonl")
    rows.write({"start": "a", "dollars": 0.5}, {"start": "b", "dollars": 0.25}, {"end": "a", "dollars": 0.1})
    rows.close()
    journal = CallJournal(tmp_path / "calls.jsonl")
    assert journal.spent == pytest.approx(0.35)
    journal.close()


def test_a_dead_endpoint_stops_the_recording(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path, "http://127.0.0.1:9/v1", queries=30))
    report = record(config, tmp_path / "out")
    assert report.stopped == "endpoint"
    assert set(report.failed.values()) <= {"unreachable: connection refused"}
    assert report.lines == [
        "endpoint 'e': unreachable: connection refused, 5 times in a row; "
        "check that a server runs at base_url = 'http://127.0.0.1:9/v1'"
    ]
    assert (report.left, report.spent) == (120, 0.0)


def test_timings_are_kept_where_the_server_tells_them(tmp_path: Path) -> None:
    with FaultyServer(limit=16) as server:
        record(load_config(write_config(tmp_path, server.url, queries=1)), tmp_path / "told")
    for row in read_rows(tmp_path / "told" / "small.direct.jsonl"):
        assert row["prompt_ms"] > 0
        assert row["prompt_n"] == row["prompt_tokens"] - row["cached_tokens"]
    config = load_config(write_config(tmp_path, "http://127.0.0.1:9/v1", queries=1))
    record(config, tmp_path / "untold", transport=Scripted(fixed("3", "4")))
    for row in read_rows(tmp_path / "untold" / "small.direct.jsonl"):
        assert row["prompt_ms"] is None
        assert row["cached_tokens"] == 0


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FaultyServer(limit=16) as server:
        path = str(write_config(tmp_path, server.url, queries=2))
        out = str(tmp_path / "out")
        assert main(["record", path, "--out", out, "--dry-run", "--tokens", "5"]) == 0
        assert server.served == []
        assert main(["record", path, "--out", out, "--max-dollars", "0.0001"]) == 1
        assert main(["record", path, "--out", out]) == 2
        assert main(["record", path, "--out", out, "--resume"]) == 0
        assert main(["estimate", str(tmp_path / "absent.toml")]) == 2
    printed = capsys.readouterr()
    assert "at most" in printed.out
    assert "raise --max-dollars" in printed.err
    assert "error: " in printed.err
    assert KEY not in printed.out + printed.err


def test_the_estimate_bounds_what_is_spent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from uis_env.live.estimate import estimate_recording

    with FaultyServer(limit=16) as server:
        config = load_config(write_config(tmp_path, server.url))
        cost = estimate_recording(config, tokens=3)
        report = record(config, tmp_path / "out")
    assert report.spent <= cost.most
    assert cost.usual < cost.most
    assert cost.calls == len(server.served)


def test_importing_the_package_needs_neither_openai_nor_rich() -> None:
    code = (
        "import sys; sys.modules['openai'] = sys.modules['rich'] = None\n"
        "import uis_env.live.config, uis_env.live.recorder, uis_env.live.strategies\n"
        "from uis_env.live.progress import Progress\n"
        "with Progress('x', 1) as bar: bar.advance(1, 3)\n"
    )
    environment: dict[str, Any] = {**os.environ}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2], env=environment)
