"""What real models write, and how it is graded: a row is (text, right answer, quality)."""

from __future__ import annotations

import doctest
import importlib
import json
import pkgutil
import re
import tomllib
from pathlib import Path

import pytest

from uis_env.live import verifiers
from uis_env.live.queries import load_queries
from uis_env.live.table import Table
from uis_env.live.verifiers import make_verifier
from uis_env.live.verifiers.make import KINDS

NUMERIC = [
    # boxes: nested, doubled, several, cut off
    (r"So \boxed{\frac{1}{2}}", "1/2", 1),
    (r"\boxed{3} or rather \boxed{\frac{7}{2}}", "3.5", 1),
    (r"\boxed{3} or rather \boxed{\frac{7}{2}}", "7", 0),
    (r"\boxed{\dfrac{3}{4}}", "0.75", 1),
    (r"\boxed{-\tfrac{12}{5}}", "-2.4", 1),
    (r"\boxed{2\frac{1}{2}}", "2.5", 1),
    (r"$$\boxed{\text{about } 1{,}234}$$", "1234", 1),
    (r"\boxed{{12}} since 4 rows vanish", "12", 1),
    (r"\boxed{{{-3}}} and 9 others", "-3", 1),
    (r"\boxed{45\text{ kg}} (after 3 weighings)", "45", 1),
    (r"\boxed{72} Put it in \boxed{}.", "72", 1),
    (r"\boxed {8}, \fbox{9}", "9", 1),
    (r"first 4, then \boxed{15", "15", 1),
    (r"\boxed{x = 5}", "5", 1),
    (r"\boxed{5}", "6", 0),
    # announcements without an answer, closing remarks
    ("The total is 72. I hope this answer is helpful!", "72", 1),
    ("#### -15 (Note: The answer is negative because she owes 3 people)", "-15", 1),
    ("The total is 72.\n\nNote: we assumed that a month has 30 days.", "72", 1),
    ("72 clips. Let me know if you want all 3 steps!", "72", 1),
    ("She has 5.\nThank you! Is there anything else I can help you with in 2024?", "5", 1),
    ("The answer is positive because 3 terms cancel. So 12 remain.", "12", 1),
    ("If x = 3, the answer is 7.", "7", 1),
    ("The answer is 7. This answer is safe since 2 checks agree.", "7", 1),
    ("The answer is not 5 but 7", "7", 1),
    ("The answer is not 5", "5", 0),
    # reasoning
    ("<think>the answer is 5... no.</think>\n7", "7", 1),
    ("<think>\\boxed{5}</think> The answer is 7", "7", 1),
    ("it may be 5.</think>7", "7", 1),
    ("<think>it may be 7", "7", 0),
    ("<think>a<think>5</think>6</think>7", "7", 1),
    ("<THINK>5</THINK>7<think>8</think>", "7", 1),
    ("<reasoning>5</reasoning><answer>7</answer>", "7", 1),
    ("[THINK]5[/THINK]7", "7", 1),
    # hyphens, ranges, signs
    ("The score was 10-7", "7", 1),
    ("The score was 10-7", "-7", 0),
    ("It takes 3-4 days", "4", 1),
    ("COVID-19", "19", 1),
    ("from 2019-2021", "2021", 1),
    ("pages 12–15", "15", 1),
    ("10 - 7", "7", 1),
    ("Apollo-11 flew", "11", 1),
    ("The change is -€12", "-12", 1),
    ("The change is −12", "-12", 1),
    ("The change is –12", "-12", 1),
    ("The change is - 12", "-12", 1),
    ("The change is $-12", "-12", 1),
    ("The change is -$1,200.50", "-1200.5", 1),
    ("The change is negative 12", "-12", 1),
    ("x = -3", "-3", 1),
    ("(-3)", "-3", 1),
    ("temperatures of 5, -7", "-7", 1),
    ("10 minus 7 is 3", "3", 1),
    ("Result:\n- 12\n- 13", "13", 1),
    # announced arithmetic
    ("Answer: 5 + 3 = 8", "8", 1),
    ("Answer: 5 + 3 = 8", "5", 0),
    ("Answer: (2+3)*4 = 20", "20", 1),
    ("The final answer: 80,000+50,000=130,000", "130000", 1),
    ("Answer: 5 apples + 3 apples = 8 apples", "8", 1),
    ("Answer: 12 × 12 = 144, a gross of 1 dozen dozens", "144", 1),
    ("Answer: 100 - 30 - 20 = 70 - 20 = 50", "50", 1),
    ("Answer: 10 minus 7 equals 3", "3", 1),
    ("Answer: 16 apples out of 20", "16", 1),
    ("Answer: 7 (since 3 + 4 = 7 and 2 = 2)", "7", 1),
    ("Answer: 1/3 = 0.33", "1/3", 1),
    # powers of ten, and others
    ("The answer is 1.5e3", "1500", 1),
    ("1e-5", "0.00001", 1),
    ("1e-5", "1", 0),
    ("2.5e-3", "0.0025", 1),
    ("1.5 × 10^3", "1500", 1),
    ("1.5x10³", "1500", 1),
    (r"1.5 \times 10^{-3}", "0.0015", 1),
    ("6.02 * 10**23", "6.02e23", 1),
    ("10⁻²", "0.01", 1),
    ("2^10", "1024", 1),
    ("The area is 25 m^2", "25", 1),
    ("The area is 25 cm²", "25", 1),
    # separators and fractions of LaTeX and other locales
    (r"10,\!080", "10080", 1),
    (r"10\,080", "10080", 1),
    ("1{,}000{,}000", "1000000", 1),
    ("1 000 000", "1000000", 1),
    ("1\u202f000\u202f000", "1000000", 1),
    ("1’000’000", "1000000", 1),
    ("12,34,567", "1234567", 1),
    ("1.000,50", "1000.5", 1),
    ("1.234.567", "1234567", 1),
    ("3,14", "3.14", 1),
    ("0,333", "0.333", 1),
    ("the pair (3,4)", "4", 1),
    ("½", "0.5", 1),
    ("3½", "3.5", 1),
    ("3 1/2", "3.5", 1),
    ("-3 1/2", "-3.5", 1),
    ("3 and 1/2", "3.5", 1),
    ("2.5/5", "0.5", 1),
    ("1,000.5/2", "500.25", 1),
    ("1\n/2", "1/2", 1),
    ("1\u00a0/ 2", "0.5", 1),
    ("12/25/2023", "2023", 1),
    ("٣٤", "34", 1),
    ("１２", "12", 1),
    # tags, headings, marks
    ("<answer>42</answer> (took 3 steps)", "42", 1),
    ("<final_answer>\\boxed{42}</final_answer> 3", "42", 1),
    ("<answer>42 of 50", "42", 1),
    ("**Answer**: 7 of 20", "7", 1),
    ("## Answer\n\n42 apples of 50", "42", 1),
    ("**Final Answer:** $42$", "42", 1),
    ("42!", "42", 1),
    ("(42).", "42", 1),
    ("20%", "20", 1),
    ("20%", "0.2", 0),
    ("20\\%", "20%", 1),
    ("The total is 72 clips, altogether.", "72", 1),
    ("It costs $29.00", "29", 1),
    ("The answer is 25", "5", 0),
    ("3 molecules of H2O", "3", 1),
    # no rational number
    (r"\boxed{2\pi}", "2", 0),
    (r"\boxed{\frac{\pi}{2}}", "2", 0),
    ("2√3", "3", 0),
    ("9" * 5000, "9", 0),
    ("10^999999999", "10", 0),
    ("none", "0", 0),
    ("", "0", 0),
]
CHOICE = [
    (r"\boxed{\text{B}}. Note that A is a distractor.", "B", 1),
    (r"\boxed{\mathrm{C}}", "C", 1),
    (r"$\boxed{\textbf{(D)}}$", "D", 1),
    (r"\boxed{{B}} not A", "B", 1),
    ("B. I hope my answer is clear.", "B", 1),
    ("The correct answer is C. I hope this helps!", "C", 1),
    ("B\n\nI am happy to explain why A fails.", "B", 1),
    ("<think>A or C?</think>B", "B", 1),
    ("A</think>B", "B", 1),
    ("<think>B", "B", 0),
    # options echoed with their text
    ("B. A car moves", "B", 1),
    ("B. A car moves", "A", 0),
    ("Option C: A mammal", "C", 1),
    ("C. I'm confident.", "C", 1),
    ("(B) A mammal", "B", 1),
    ("B) I think", "B", 1),
    ("**D.** A dog", "D", 1),
    ("The answer is C: I", "C", 1),
    # pronouns and articles
    ("Answer: I think it is C", "C", 1),
    ("Answer: I think it is C", "I", 0),
    ("Answer: A bit tricky, but B", "B", 1),
    ("Answer: I don't know", "I", 0),
    ("Answer: I am sure that D holds", "D", 1),
    ("A quick check shows C", "C", 1),
    ("The answer is a car", "A", 0),
    ("The answer is A", "A", 1),
    ("The answer is I", "I", 1),
    ("A is correct", "A", 1),
    # rejected options
    ("The answer is not A", "A", 0),
    ("The answer is not A but B", "B", 1),
    ("The answer isn't A. It is C.", "C", 1),
    ("A and C are wrong, B is right", "B", 1),
    ("B is right, A is wrong", "B", 1),
    ("I rule out A and B, so C", "C", 1),
    ("neither A nor B", "B", 0),
    ("Answer: B rather than A", "B", 1),
    ("Answer: A or B", "A", 0),
    ("Answer: both A and C", "A", 0),
    ("None of the above", "A", 0),
    ("None of the above", "B", 0),
    # lower case
    ("The answer is b", "B", 1),
    ("b)", "B", 1),
    ("answer: c", "C", 1),
    ("Answer is a", "A", 1),
    ("The answer is b because a is slow", "B", 1),
    ("option d", "D", 1),
    # what was right before
    ("Answer: A ... Answer: B", "B", 1),
    ("The answer is B. Note that A is close", "B", 1),
    ("The answer is (B) since A fails", "B", 1),
    ("Answer: Paris (B)", "B", 1),
    ("B\n\nExplanation: A is slower than C", "B", 1),
    ("I would go with D.", "D", 1),
    ("It shows on an X-ray. C.", "C", 1),
    ("no idea", "A", 0),
    ("", "A", 0),
    # right answers as files write them
    ("B", "B.", 1),
    ("B", "(B) Paris", 1),
    ("B", "[B]", 1),
    ("B", "b)", 1),
    ("B", "**B**", 1),
    ("B", "Option B", 1),
    ("B", "The answer is B", 1),
    ("A", "(B) A", 0),
]
EXACT = [
    (r"\boxed{\text{Paris}}", "Paris", 1),
    (r"\boxed{\textbf{Paris}}", "Paris", 1),
    (r"\boxed{{noon}}", "noon", 1),
    (r"\(\text{Paris}\)", "Paris", 1),
    ("Paris\nI hope this answer is helpful", "Paris", 1),
    ("Paris. I hope this helps! 😊", "Paris", 1),
    ("Paris\n(Note: the answer is capitalised.)", "Paris", 1),
    ("<think>Rome? \\boxed{Rome}</think>Paris", "Paris", 1),
    ("<think>Paris", "Paris", 0),
    ("Answer: “Paris”", "Paris", 1),
    ("Answer: «Paris»", "Paris", 1),
    ("Answer: 'Paris'", "Paris", 1),
    ("Paris!", "Paris", 1),
    ("Paris。", "Paris", 1),
    ("PARIS", "paris", 1),
    ("Zu\u0308rich", "Zürich", 1),
    ("Zürich", "Zu\u0308rich", 1),
    ("Zurich", "Zürich", 0),
    ("\u200bParis", "Paris", 1),
    ("\ufeffParis\u200b", "Paris", 1),
    ("−5", "-5", 1),
    ("–5", "-5", 1),
    ("1,000", "1000", 1),
    ("1000", "1,000", 1),
    ("1,00", "100", 0),
    ("O’Brien", "O'Brien", 1),
    ("New   York", "new york", 1),
    ("<answer>Paris</answer> took long", "Paris", 1),
    ("## Answer\n\nParis", "Paris", 1),
    ("Answer:\nParis", "Paris", 1),
    ("Rome", "Paris", 0),
    ("5!", "5", 0),
    ("*", "*", 1),
    ("", "Paris", 0),
    ("…", "Paris", 0),
]
TABLES = {"numeric": NUMERIC, "choice": CHOICE, "exact": EXACT}
MORE = Path(__file__).parent / "graded_texts.jsonl"
ROWS = [(kind, *row) for kind, table in TABLES.items() for row in table] + [
    tuple(json.loads(line).values()) for line in MORE.read_text(encoding="utf-8").split("\n") if line
]


@pytest.mark.parametrize(("kind", "text", "right", "quality"), ROWS, ids=lambda value: ascii(value)[:24])
def test_what_models_write_is_graded(kind: str, text: str, right: str, quality: int) -> None:
    verifier = make_verifier(kind)
    assert verifier.grade(verifier.extract(text), right) == quality


@pytest.mark.parametrize(
    ("kind", "right"),
    [(kind, right) for kind in TABLES for right in ("", " ", "\u200b")]
    + [("choice", right) for right in ("Paris", "AB", "7", "A car", ".")]
    + [("numeric", right) for right in ("Paris", "2π", "9" * 5000, "1e99999", "<think>7")]
    + [("exact", right) for right in ('""', "…"[:0], "\n")],
)
def test_a_right_answer_that_nothing_can_match_is_refused(kind: str, right: str) -> None:
    with pytest.raises(ValueError, match="the right answer"):
        make_verifier(kind).grade("", right)


MODULES = [module.name for module in pkgutil.iter_modules(verifiers.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_the_rules_in_the_docstrings_hold(name: str) -> None:
    module = importlib.import_module(f"uis_env.live.verifiers.{name}")
    assert doctest.testmod(module).failed == 0


PAGE = Path("docs/graders.md")


def test_the_examples_of_the_page_hold(tmp_path: Path) -> None:
    assert doctest.testfile(str(PAGE.resolve()), module_relative=False).failed == 0
    text = PAGE.read_text(encoding="utf-8")
    (config,) = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    (rows,) = re.findall(r"```json\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / "queries.jsonl").write_text(rows, encoding="utf-8")
    queries = load_queries(Table(tomllib.loads(config)["queries"], "queries"), tmp_path)
    given = ["7", "3.14", "b) a vehicle", "paris.", "It is AB-12!"]
    for query, answer in zip(queries, given, strict=True):
        assert query.verifier.grade(query.verifier.extract(answer), query.answer) == 1, query.query_id


def test_the_page_lists_every_kind() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{kind}`" in text for kind in KINDS)
