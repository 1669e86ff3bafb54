"""Patterns and functions of the user's run in a process of their own, under a time limit."""

from __future__ import annotations

import asyncio
import json
import math
import os
from typing import Any

import pytest

from tests.live.scripted import fixed, make_ask
from uis_env.live import judge
from uis_env.live.outcome import play
from uis_env.live.queries import Query
from uis_env.live.scorers import load_scorer
from uis_env.live.table import Table
from uis_env.live.verifiers import GraderError, Verifier, make_verifier, regex, remote_function
from uis_env.live.verifiers.process import WORKER, Worker

EVIL = [("(a+)+$", "a" * 40 + "!"), ("(a|aa)+$", "a" * 60 + "!"), (r"(\w+\s?)*:", "word " * 12 + "!")]


def made(**settings: Any) -> Verifier:
    return make_verifier(Table(settings, "v"))


def own(**settings: Any) -> Verifier:
    return made(kind="callback", function="tests.live.graders:own", **settings)


def graded(verifier: Verifier, text: str, right: str = "4") -> judge.Verdict:
    query = Query("q", "?", right, verifier)
    answer, note = judge.read(query, text)
    return judge.Verdict(answer, 0.0, note) if note else judge.grade(query, answer)


@pytest.mark.parametrize(("pattern", "text"), EVIL, ids=[pattern for pattern, _ in EVIL])
def test_a_pattern_that_backtracks_for_ever_is_killed(pattern: str, text: str) -> None:
    verifier = made(kind="regex", pattern=pattern, seconds=0.2)
    assert graded(verifier, text) == ("", 0.0, "reading: GraderError: no result within 0.2 s: killed")
    assert graded(made(kind="regex", pattern="final (.*)"), "final 4") == ("4", 1.0, "")


def test_functions_run_in_another_process() -> None:
    assert remote_function("os:getpid", "x")() not in (0, os.getpid())
    assert graded(made(kind="callback", function="tests.live.graders:half"), "Answer: x") == ("x", 0.5, "")


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        ("raise", "grading: GraderError: KeyError: 'no such answer'"),
        ("exit", "grading: GraderError: the grader ended its process"),
        ("leave", "grading: GraderError: SystemExit: 0"),
        ("nan", "grading: ValueError: verifier callback returned nan, expected a number in [0, 1]"),
        ("much", "grading: ValueError: verifier callback returned 7.0, expected a number in [0, 1]"),
    ],
)
def test_a_function_that_fails_is_a_note(answer: str, note: str) -> None:
    assert graded(own(), answer) == (answer, 0.0, note)
    assert graded(own(), "4") == ("4", 1.0, "")


def test_a_hanging_function_is_killed_and_blocks_nobody() -> None:
    """Other tasks of the event loop go on while a grader hangs."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.01)

    async def both() -> Any:
        ticking = asyncio.ensure_future(tick())
        query = Query("q", "What is 2 + 2?", "4", own(seconds=0.5))
        outcome = await play(make_ask(fixed("hang"), query=query), "majority", (3,))
        ticking.cancel()
        return outcome

    outcome = asyncio.run(both())
    assert (outcome.quality, outcome.note) == (0.0, "grading: GraderError: no result within 0.5 s: killed")
    assert ticks > 10


def test_a_cancelled_call_ends_at_once() -> None:
    """A run that is stopped does not wait for a grader, whatever its time limit."""
    query = Query("q", "What is 2 + 2?", "4", own(seconds=3000))

    async def cancelled() -> None:
        task = asyncio.ensure_future(judge.aside(judge.grade, query, "hang"))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await judge.aside(judge.grade, query, "4")).quality == 1

    asyncio.run(cancelled())


def test_a_worker_whose_parent_is_gone_ends_itself() -> None:
    """The watchdog needs neither the parent nor the interpreter's lock, which a pattern holds while it is matched."""
    worker = Worker()
    spec = {"kind": "regex", "pattern": "(a+)+$"}
    worker.call(spec, 1.0, "load")
    process = worker._process
    assert process is not None and process.stdin is not None
    request = {"spec": spec, "method": "extract", "arguments": ["a" * 60 + "!"], "seconds": 0.1}
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.close()
    assert process.wait(timeout=60) != 0
    worker.close()


def test_a_closed_worker_starts_anew() -> None:
    assert made(kind="regex", pattern="x").extract("x") == "x"
    WORKER.close()
    assert made(kind="regex", pattern="x").extract("x") == "x"


def test_a_function_that_cannot_be_loaded_is_named() -> None:
    with pytest.raises(ValueError, match=r"s\.function: 'nowhere:f': No module named 'nowhere'; expected"):
        load_scorer(Table({"kind": "callback", "function": "nowhere:f"}, "s"), [])
    with pytest.raises(GraderError, match="KeyError"):
        own().grade("raise", "4")


def test_a_scorer_of_a_config_runs_in_the_worker() -> None:
    scorer = load_scorer(Table({"kind": "callback", "function": "tests.live.graders:own", "seconds": 0.3}, "s"), [])
    ask = make_ask(fixed("What is 2 + 2?", "5"), scorer=scorer)
    assert asyncio.run(play(ask, "best_of_n", (2,))).answer.score == 1.0
    with pytest.warns(RuntimeWarning, match=r"no result within 0\.3 s"):
        outcome = asyncio.run(play(make_ask(fixed("4"), scorer=scorer, query=HANGING), "single", (1,)))
    assert math.isnan(outcome.answer.score)


HANGING = Query("q", "hang", "4", make_verifier("numeric"))


@pytest.mark.parametrize("text", ["\ud83d", "é\u2028\x00", "9" * 5000, ""])
def test_any_text_reaches_the_worker(text: str) -> None:
    assert made(kind="regex", pattern="(?s).+").extract(text) == regex("(?s).+").extract(text)


def test_math_is_compared_by_value() -> None:
    pytest.importorskip("math_verify")
    verifier = make_verifier("math")
    for text, right, quality in [
        (r"So \boxed{\frac{\sqrt{2}}{2}}", r"\frac{1}{\sqrt{2}}", 1),
        ("The answer is $2\\pi$.", "2\\pi", 1),
        ("The answer is $2\\pi$.", "2", 0),
        (r"\boxed{(1, 2]}", "(1,2]", 1),
        (r"\boxed{x^2 + 2x + 1}", "(x+1)^2", 1),
        (r"\boxed{\{3, 1, 2\}}", r"\{1,2,3\}", 1),
        ("<think>7</think>0.5", "1/2", 1),
        ("nothing", "7", 0),
        ("", "7", 0),
    ]:
        assert graded(verifier, text, right)[1:] == (quality, ""), text
    votes = verifier.group([r"\frac{1}{2}", "0.5", "2", "", r"\frac{2}{4}"])
    assert votes[0] == votes[1] == votes[4] != votes[2]
    assert votes[3] == ""
    with pytest.raises(ValueError, match="expected a mathematical expression"):
        verifier.grade("7", "no idea")


def test_math_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'uis-env\[math\]'"):
        make_verifier("math")


def test_an_idle_worker_ends_with_its_input() -> None:
    worker = Worker()
    worker.call({"kind": "regex", "pattern": "x"}, 1.0, "load")
    process = worker._process
    assert process is not None and process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    worker.close()
