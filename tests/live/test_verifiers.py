from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uis_env.live.queries import load_queries, read_queries
from uis_env.live.table import Table
from uis_env.live.verifiers import callback, choice, exact, make_verifier, marked, numeric, reasoning_gym, regex


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("42", "42"),
        ("  **42.** ", "42"),
        ("So 3 + 4 = 7.\nAnswer: 7", "7"),
        ("The answer is Paris. It is in France.", "Paris. It is in France"),
        ("Answer: Paris\nbecause of France", "Paris"),
        ("First Rome.\nParis", "Paris"),
        ("so \\boxed{x + 1}", "x + 1"),
        ("", ""),
        ("\n \n", ""),
        ("Answer:", ""),
    ],
)
def test_exact_finds_the_announced_or_last_line(text: str, answer: str) -> None:
    assert exact().extract(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("8 + 8 = 16", "16"),
        ("Answer: 16 apples out of 20", "16"),
        ("the answer is 1,234.50", "2469/2"),
        ("−3", "-3"),
        (".5", "1/2"),
        ("3/4", "3/4"),
        ("6 / 8", "3/4"),
        ("16.0", "16"),
        ("none", ""),
        ("1/0", "0"),
    ],
)
def test_numeric_reads_numbers_canonically(text: str, answer: str) -> None:
    assert numeric().extract(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [("B", "B"), ("(c)", "C"), ("The answer is (B) since A fails", "B"), ("A or B? B", "B"), ("no idea", ""), ("", "")],
)
def test_choice_finds_the_letter(text: str, answer: str) -> None:
    assert choice().extract(text) == answer


def test_grading() -> None:
    assert exact().grade("paris", "Paris.") == 1
    assert exact().grade("", "Paris") == 0
    assert numeric().grade("16", "16.0") == 1
    assert numeric().grade("16", "17") == 0
    assert numeric().grade("", "17") == 0
    assert numeric(0.01).grade("100", "101") == 1
    assert numeric(0.001).grade("100", "101") == 0
    assert choice().grade("B", "(b)") == 1
    assert regex(r"final (\w+)").extract("final one, final Two") == "Two"
    assert regex(r"x+").extract("none") == ""
    assert callback(lambda answer, right: 0.5).grade("a", "b") == 0.5
    assert callback(lambda answer, right: 1.0).grade("", "b") == 0
    with pytest.raises(ValueError, match="callback returned 2"):
        callback(lambda answer, right: 2.0).grade("a", "b")


def test_reasoning_gym_is_right_only_at_full_score() -> None:
    def score(answer: str, entry: Any) -> float:
        return {"yes": 1.0, "almost": 0.5}[answer]

    verifier = reasoning_gym(score, {"answer": "a\nb"})
    assert [verifier.grade(answer, "") for answer in ("yes", "almost", "unreadable", "")] == [1, 0, 0, 0]
    assert verifier.extract("thus\na\nb") == "a\nb"


RIGHT = {"exact": "Paris", "numeric": "7", "choice": "B"}
GRADERS = {"exact": exact(), "numeric": numeric(), "choice": choice()}
CLOSING = [
    "I hope this answer is helpful!",
    "I hope my answer is clear.",
    "Hope this helps! Let me know if you have any questions.",
    "Please let me know if you need anything else 😊",
    "Thank you for the question.",
    "Note that this is final.",
    "(Note: the answer is short because nothing else was asked.)",
    "Feel free to ask more!\n\nBest regards",
]
OPENING = ["<think>The answer is A, 5 or Rome. \\boxed{5}</think>", "Rome? A? 5?</think>", "◁think▷Rome, 5, A◁/think▷"]
FORMS = [
    "{}",
    "**{}**",
    "Answer: {}",
    "The answer is {}.",
    "\\boxed{{{}}}",
    "<answer>{}</answer>",
    "$\\boxed{{\\text{{{}}}}}$",
]
TEXTS = (
    st.text()
    | st.text("“”„«»'\"`*_.!…-−$ aA", max_size=6)
    | st.text(st.characters(codec=None))
    | st.text("0123456789.,-−/ eE^%()$½πx=", max_size=40)
)


@given(TEXTS)
def test_any_text_is_read_and_read_again_alike(text: str) -> None:
    for kind, verifier in GRADERS.items():
        answer = verifier.extract(text)
        assert verifier.grade(answer, RIGHT[kind]) in (0, 1)
        assert verifier.grade(text, RIGHT[kind]) in (0, 1)
        if kind != "exact":
            assert verifier.extract(answer) == answer
        (vote,) = verifier.group([answer])
        assert verifier.group([answer, answer]) == [vote, vote]
        assert (vote == "") == (answer == "")
    assert regex("a+").grade(regex("a+").extract(text), "a") in (0, 1)
    assert isinstance(marked(text), bool)


@given(
    st.sampled_from(list(RIGHT)),
    st.sampled_from(FORMS),
    st.sampled_from(["", *OPENING]),
    st.sampled_from(["", *CLOSING]),
    st.sampled_from([" ", "\n", "\n\n", "\r\n", "\u2028", " \u00a0 "]),
)
def test_grades_do_not_depend_on_what_surrounds_the_answer(
    kind: str, form: str, opening: str, closing: str, gap: str
) -> None:
    text = form.format(RIGHT[kind])
    if "." not in text[-2:] and not gap.strip(" \u00a0"):
        text += "."
    whole = f"{opening}{gap}{text}{gap}{closing}"
    verifier = GRADERS[kind]
    assert verifier.grade(verifier.extract(whole), RIGHT[kind]) == 1


@given(TEXTS | st.text("ABab()[].,:*! \n0123456789/-", max_size=12))
def test_a_right_answer_that_is_accepted_is_matched_by_itself(text: str) -> None:
    for kind, verifier in GRADERS.items():
        try:
            verifier.grade("", text)
        except ValueError:
            continue
        assert verifier.grade(verifier.extract(text), text) == 1, kind


HUGE = [
    "9" * 10_000,
    "Answer: " + "1," * 10_000,
    "1/" * 10_000,
    "\\boxed{" * 10_000,
    "{" * 10_000 + "}" * 10_000,
    "<think>" * 10_000,
    "<answer>" * 10_000,
    "the answer is " * 10_000,
    "answer to the question " * 10_000,
    "(" * 20_000,
    "A or C, not " * 10_000,
    "-" * 20_000 + "5",
    " " * 50_000 + "5",
    "\n" * 50_000,
    "#" * 50_000,
    "I hope " * 10_000,
    "\n- Note: " * 5_000,
    "\\frac{" * 10_000,
    "\\text{" * 10_000,
    "1 000 " * 10_000,
    "1.5e3 " * 10_000,
    "10^999999999 1e999999999 2^99999",
    "\ud83d" * 10_000,
    "e\u0301" * 20_000,
    "answer" * 20_000,
    "**" * 20_000,
    '"' * 50_000,
    "a b " * 20_000,
]


@pytest.mark.parametrize("text", HUGE, ids=lambda text: ascii(text[:12]))
def test_huge_texts_are_read(text: str) -> None:
    """Every pattern is linear: these take well under a second each, and some took minutes with a quadratic one."""
    for kind, verifier in GRADERS.items():
        assert verifier.grade(verifier.extract(text), RIGHT[kind]) == 0
    marked(text)


def test_a_number_of_too_many_digits_is_no_answer() -> None:
    assert numeric().extract("9" * 1_900) == "9" * 1_900
    assert numeric().extract("7, or " + "9" * 10_000) == ""
    assert numeric().grade("9" * 10_000, "9") == 0
    with pytest.raises(ValueError, match="holds no number"):
        numeric().grade("9", "9" * 10_000)


@given(st.integers(-(10**9), 10**9))
def test_integers_survive_every_way_of_writing_them(number: int) -> None:
    dashed = f"{number}".replace("-", "−")
    spaced = f"{number:,}".replace(",", "\u202f")
    latex = f"{number:,}".replace(",", "{,}")
    dollars = f"${number:,}".replace("$-", "-$")
    for text in (
        f"{number}",
        f"{number:,}",
        f"{number}.0",
        f"Answer: {number} things",
        f"= **{number}**",
        dashed,
        spaced,
        latex,
        dollars,
        f"\\boxed{{{latex}}}",
        f"It is {number}.",
        f"{number}e0",
        f"<answer> {number} </answer>",
    ):
        assert numeric().extract(text) == str(number)


@given(st.fractions(max_denominator=10_000))
def test_fractions_survive_every_way_of_writing_them(number: Fraction) -> None:
    sign, above, below = "-" if number < 0 else "", abs(number.numerator), number.denominator
    texts = [
        f"{number.numerator}/{below}",
        f"{number.numerator} / {below}",
        rf"\boxed{{{sign}\frac{{{above}}}{{{below}}}}}",
        rf"{sign}\dfrac{{{above}}}{{{below}}}",
    ]
    if below > 1:
        texts.append(f"{sign}{above // below} {above % below}/{below}" if above > below else f"{sign}{above}/{below}")
    for text in texts:
        assert Fraction(numeric().extract(text)) == number


@given(st.decimals(-(10**6), 10**6, places=2, allow_nan=False, allow_infinity=False))
def test_decimals_survive_every_way_of_writing_them(number: Decimal) -> None:
    english = f"{number:,.2f}"
    european = english.translate(str.maketrans(",.", ".,"))
    for text in (english, european, f"Answer: {number:.2f}", f"{number:.10e}", f"{number:.10e}".replace("e", " × 10^")):
        assert Fraction(numeric().extract(text)) == Fraction(number)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"kind": "fuzzy"}, "v.kind: 'fuzzy', expected one of exact, numeric"),
        ({"kind": "regex"}, "v.pattern: missing"),
        ({"kind": "regex", "pattern": "("}, "v.pattern: not a regular expression"),
        ({"kind": "exact", "tolerance": 1}, "v: unknown key 'tolerance'"),
        ({"kind": "callback", "function": "nowhere:f"}, "v.function: 'nowhere:f'"),
        ({"kind": "callback", "function": "math:pi"}, "is not a function"),
    ],
)
def test_bad_verifiers_are_named(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        make_verifier(Table(spec, "v"))


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_queries_are_read_with_their_verifiers(tmp_path: Path) -> None:
    path = write(
        tmp_path / "q.jsonl",
        {"id": "a", "question": "1+1?", "answer": "2", "verifier": {"kind": "numeric", "tolerance": 0.1}},
        {"query_id": "b", "question": "Capital?", "answer": "Paris", "family": "geo", "level": "1"},
    )
    one, two = read_queries(path)
    assert one.verifier.grade("2", one.answer) == 1
    assert (two.family, two.level, one.family) == ("geo", "1", "all")
    assert two.to_json()["query_id"] == "b"
    assert len(load_queries(Table({"file": "q.jsonl", "limit": 1}, "queries"), tmp_path)) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "a", "question": "x"}', "q.jsonl:1.answer: missing, expected a string"),
        ('{"id": "a", "question": "x", "answer": 3}', "q.jsonl:1.answer: 3, expected a string"),
        ('{"id": "a", "question": "x", "answer": "y", "verifer": "exact"}', "q.jsonl:1: unknown key 'verifer'"),
        ('{"id": "a", "question": "x", "answer": "y", "verifier": "numeric"}', "q.jsonl:1: the right answer 'y'"),
        ("{", "q.jsonl:1: not JSON"),
        ("[]", "q.jsonl:1: expected a table"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=message):
        read_queries(path)


def test_queries_must_exist_and_differ(tmp_path: Path) -> None:
    write(tmp_path / "q.jsonl", *[{"id": "a", "question": "x", "answer": "y"}] * 2)
    with pytest.raises(ValueError, match="query ids repeat: 'a'"):
        load_queries(Table({"file": "q.jsonl"}, "queries"), tmp_path)
    with pytest.raises(ValueError, match="expected `file` or `reasoning_gym`"):
        load_queries(Table({}, "queries"), tmp_path)


def test_reasoning_gym_queries() -> None:
    pytest.importorskip("reasoning_gym")
    spec = {"name": "chain_sum", "size": 5, "seed": 3, "config": {"min_terms": 2, "max_terms": 2}}
    queries = load_queries(Table({"reasoning_gym": [spec]}, "queries"), Path())
    assert len(queries) == 5
    assert all(query.verifier.grade(query.answer, query.answer) == 1 for query in queries)
    assert all(query.verifier.grade("no", query.answer) == 0 for query in queries)
    with pytest.raises(ValueError, match="reasoning-gym refuses 'nothing'"):
        load_queries(Table({"reasoning_gym": [{"name": "nothing", "size": 1}]}, "queries"), Path())
