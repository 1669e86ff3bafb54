from __future__ import annotations

import json
from pathlib import Path

import pytest

from uis_env.live.queries import read_queries

ROW = {"id": "a", "question": "1 + 1 = ?", "answer": "2"}


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_a_line_ends_where_json_lines_end(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "queries.jsonl"
    line = '{"id": "a", "question": "one' + separator + 'two", "answer": "2"}\n'
    if ord(separator) < 32:  # JSON refuses control characters, on the line where they stand
        path.write_text(line, encoding="utf-8")
        with pytest.raises(ValueError, match=r"queries\.jsonl:1: not JSON: Invalid control"):
            read_queries(path)
    else:
        path.write_text(line + json.dumps(ROW | {"id": "b"}) + "\r\n", encoding="utf-8")
        assert [query.query_id for query in read_queries(path)] == ["a", "b"]
        assert read_queries(path)[0].question == f"one{separator}two"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "queries.jsonl: holds no queries"),
        (b'{"id": "\xe9"}\n', "queries.jsonl: not UTF-8 at byte 8"),
        (json.dumps(ROW | {"id": ""}).encode(), "queries.jsonl:1: the id is '', expected a text"),
    ],
)
def test_what_could_be_recorded_but_not_built_is_refused_first(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_queries(path)
