"""Our grades beside those recorded with real answers: the table of docs/graders.md, recomputed where the data is."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from uis_env.live.verifiers import make_verifier

DATA = Path(os.environ.get("UIS_DATA", "nowhere"))
needs_data = pytest.mark.skipif(
    not (DATA / "recorded_pools").is_dir(), reason="the raw pools are not here (set UIS_DATA)"
)
ROWS = re.findall(
    r"^\| ([^|]+) \| (numeric|exact|math) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$",
    Path("docs/graders.md").read_text(encoding="utf-8"),
    flags=re.MULTILINE,
)
TABLE = {(name, kind): tuple(int(number.replace(",", "")) for number in numbers) for name, kind, *numbers in ROWS}


def compared(folder: Path, style: str) -> dict[str, tuple[int, int, int]]:
    """By kind: samples, and how many are right by the recorded grade only and by ours only."""
    lines = (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    answers = {row["query_id"]: row["answer"] for row in map(json.loads, lines)}
    verifiers = {kind: make_verifier(kind) for kind in ("numeric", "exact")}
    counts: dict[str, Counter[tuple[float, float]]] = {kind: Counter() for kind in verifiers}
    for path in sorted(folder.glob(f"*.{style}.jsonl.gz")):
        known: dict[tuple[str, str], float] = {}
        for line in gzip.decompress(path.read_bytes()).splitlines():
            row = json.loads(line)
            right, key = answers[row["query_id"]], (row["query_id"], row["text"])
            kind = "numeric" if re.fullmatch(r"-?\d+(\.\d+)?", right) else "exact"
            if key not in known:
                known[key] = verifiers[kind].grade(verifiers[kind].extract(row["text"]), right)
            counts[kind][row["correct"], known[key]] += 1
    return {kind: (count.total(), count[1, 0], count[0, 1]) for kind, count in counts.items()}


def test_the_table_is_read() -> None:
    assert len(TABLE) == 8
    assert all(theirs + ours < samples for samples, theirs, ours in TABLE.values())


@needs_data
@pytest.mark.parametrize(("style", "name"), [("direct", "v0, answers only"), ("steps", "v0, step by step")])
def test_grades_of_the_first_recording(style: str, name: str) -> None:
    for kind, counts in compared(DATA / "recorded_pools", style).items():
        assert counts == TABLE[name, kind]


@needs_data
@pytest.mark.slow
def test_grades_of_the_second_recording() -> None:
    for kind, counts in compared(DATA / "recorded_pools_v1", "direct").items():
        assert counts == TABLE["v1, answers only", kind]


@needs_data
def test_grades_of_gpt3_on_gsm8k() -> None:
    verifier, folder = make_verifier("numeric"), DATA / "openai_gsm8k"
    with gzip.open(folder / "queries.csv.gz", "rt", encoding="utf-8") as file:
        gold = {row["query_id"]: row["gold"] for row in csv.DictReader(file)}
    with gzip.open(folder / "outcomes.csv.gz", "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    grades = [verifier.grade(verifier.extract(row["answer"]), gold[row["query_id"]]) for row in rows]
    assert grades == [float(row["score"]) for row in rows]
    assert TABLE["GPT-3 on GSM8K, extracted numbers", "numeric"] == (len(rows), 0, 0)
