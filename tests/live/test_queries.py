from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uis_env.live.queries import load_queries, read_queries
from uis_env.live.table import Table

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
        (b"\n \n\r\n", "queries.jsonl: holds no queries"),
        (json.dumps(ROW | {"id": ""}).encode(), "queries.jsonl:1: the id is '', expected a text"),
        (b"\n" + json.dumps(ROW | {"question": " "}).encode(), "queries.jsonl:2: the question is ' ', expected a text"),
        (json.dumps(ROW | {"answer": ""}).encode(), "queries.jsonl:1: the answer is '', expected a text"),
        (json.dumps(ROW | {"answer": '""'}).encode(), "queries.jsonl:1: the right answer is '', expected a text"),
        (
            json.dumps(ROW | {"verifier": "choice"}).encode(),
            "queries.jsonl:1: the right answer is '2', expected the let",
        ),
        (
            json.dumps(ROW | {"verifer": "numeric"}).encode(),
            "queries.jsonl:1: unknown key 'verifer', expected 'verifier'",
        ),
    ],
)
def test_what_could_be_recorded_but_not_built_is_refused_first(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_queries(path)


def test_files_of_other_programs_are_read(tmp_path: Path) -> None:
    """A byte order mark, blank lines at the end and further columns."""
    path = tmp_path / "queries.jsonl"
    rows = [ROW | {"subject": "maths", "choices": ["1", "2"], "question_id": 3}, ROW | {"id": "b", "meta": {"x": None}}]
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(json.dumps(row).encode() for row in rows) + b"\r\n\r\n\n  \n")
    assert [query.query_id for query in read_queries(path)] == ["a", "b"]


@given(st.dictionaries(st.text(max_size=12), st.integers() | st.text(max_size=4) | st.none(), max_size=4))
def test_any_further_columns_change_nothing(columns: dict[str, object]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "queries.jsonl"
        path.write_text(json.dumps({f"x {key}": value for key, value in columns.items()} | ROW))
        (query,) = read_queries(path)
    assert (query.query_id, query.question, query.answer, query.family) == ("a", "1 + 1 = ?", "2", "all")


CALLBACK = {"kind": "callback", "function": "tests.live.graders:half"}


@pytest.mark.parametrize("function", ["tests.live.graders:half", "os:system", "nowhere:f", 3])
def test_a_file_of_queries_cannot_name_code(tmp_path: Path, function: object) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text(json.dumps(ROW | {"verifier": {"kind": "callback", "function": function}}))
    for allowed in ([], ["os:getpid"]):
        with pytest.raises(
            ValueError, match=r"queries\.jsonl:1\.verifier\.function: .* is code: name it in the config"
        ):
            load_queries(Table({"file": path.name, "callbacks": allowed}, "queries"), tmp_path)


def test_a_row_cannot_ask_for_hours(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    pattern = {"kind": "regex", "pattern": "(a+)+$", "seconds": 3600}
    path.write_text(json.dumps(ROW | {"verifier": pattern}))
    with pytest.raises(ValueError, match=r"queries\.jsonl:1\.verifier\.seconds: 3600, expected at most 60"):
        read_queries(path)
    path.write_text(json.dumps(ROW))
    assert read_queries(path, pattern)[0].query_id == "a"


def test_a_config_can_name_code_and_allow_it(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text(json.dumps(ROW))
    (query,) = load_queries(Table({"file": path.name, "verifier": CALLBACK}, "queries"), tmp_path)
    assert query.verifier.grade("x", "2") == 0.5
    path.write_text(json.dumps(ROW | {"verifier": CALLBACK}))
    settings = {"file": path.name, "callbacks": [CALLBACK["function"]]}
    (query,) = load_queries(Table(settings, "queries"), tmp_path)
    assert query.verifier.grade("x", "2") == 0.5
