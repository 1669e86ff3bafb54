"""What was paid for can be used: `record` never ends well with something that `build` refuses."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

from tests.live.answering import Answering, Request, Response, answers, chat, right
from tests.live.test_failure import write
from uis_env import load_world
from uis_env.live.__main__ import main
from uis_env.live.config import load_config
from uis_env.live.journal import CallJournal, read_rows
from uis_env.live.recorder import record
from uis_env.lock import DirectoryLock

Change = Callable[[dict[str, Any]], None]


def first_choice(**changes: Any) -> Change:
    return lambda reply: reply["choices"][0].update(changes)


def top(**changes: Any) -> Change:
    return lambda reply: reply.update(changes)


def logprob(value: Any) -> Change:
    return lambda reply: reply["choices"][0]["logprobs"]["content"][0].update(logprob=value)


EMPTY = {"message": {"content": ""}, "logprobs": {"content": []}}
FILTERED = {"message": {"content": None}, "finish_reason": "content_filter", "logprobs": None}
ODD: dict[str, Change] = {
    "one sample empty": first_choice(**EMPTY),
    "content filter": first_choice(**FILTERED),
    "refusal": first_choice(message={"content": None, "refusal": "no"}),
    "tool call": first_choice(message={"content": None, "tool_calls": [{}]}),
    "usage null": top(usage=None),
    "usage absent": lambda reply: reply.pop("usage"),
    "usage zero": top(usage={"prompt_tokens": 0, "completion_tokens": 0}),
    "usage in words": top(usage={"prompt_tokens": "12", "completion_tokens": "7"}),
    "usage in floats": top(usage={"prompt_tokens": 12.0, "completion_tokens": 7.0}),
    "logprob null": logprob(None),
    "logprob above zero": logprob(1e-4),
    "logprob infinite": logprob(float("-inf")),
    "logprob absurd": logprob(10**400),
    "no logprobs": first_choice(logprobs=None),
    "half an emoji": first_choice(message={"content": "3 \ud83d"}),
    "4301 digits": first_choice(message={"content": "9" * 4301}),
    "a list of parts": first_choice(message={"content": [{"type": "text", "text": "3"}]}),
    "error in a choice": first_choice(error={"code": 502}, finish_reason="error", message={"content": ""}),
    "one choice too few": lambda reply: reply["choices"].pop(),
    "one choice too many": lambda reply: reply["choices"].append(dict(reply["choices"][0])),
    "timings": top(timings={"prompt_ms": float("nan"), "prompt_n": -1}),
}


def odd_once(change: Change, always: bool) -> Callable[[Request], Response]:
    """Right answers, but for the third query, once or always."""
    spoilt: list[int] = []

    def answer(request: Request) -> Response:
        reply = answers(request)
        if "What is 2 + 1?" in str(request.body) and (always or not spoilt):
            spoilt.append(request.number)
            change(reply.body)
        return reply

    return answer


@pytest.mark.parametrize("always", [False, True], ids=["once", "always"])
@pytest.mark.parametrize("name", ODD)
def test_one_odd_reply_costs_at_most_its_own_cell(name: str, always: bool, tmp_path: Path) -> None:
    with Answering(odd_once(ODD[name], always)) as server:
        config = str(write(tmp_path, server.url, queries=6))
        out, world = str(tmp_path / "rec"), str(tmp_path / "Own")
        status = main(["record", config, "--out", out])
        if name in ("error in a choice", "one choice too few") and always:  # calls that failed: asked again later
            assert status == 1
        else:
            assert status == 0
            before = len(server.requests)
            assert main(["record", config, "--out", out, "--resume"]) == 0
            assert len(server.requests) == before
    assert main(["build", config, out, "--out", world]) == 0
    made = load_world(Path(world))
    assert {"quality", "score", "dollars", "tokens"} <= made.channels.present().keys()
    assert 5 <= len(made.query_ids) <= 6
    if not always:
        assert len(made.query_ids) == 6


ENDPOINTS: dict[str, tuple[Callable[[Request], Response], str, set[str]]] = {
    "no logprobs": (lambda r: answers(r, logprob=None), "tells no log-probabilities", {"dollars", "tokens"}),
    "no usage": (lambda r: answers(r, usage=None), "tells no usage", {"score"}),
    "neither": (lambda r: answers(r, usage=None, logprob=None), "tells no usage", set()),
    "n ignored": (lambda r: Response(200, chat(right(r))), "", {"dollars", "tokens", "score"}),
    "n refused": (
        lambda r: Response(422, {"detail": "n"}) if r.body.get("n", 1) > 1 else answers(r),
        "",
        {"dollars", "tokens", "score"},
    ),
}


@pytest.mark.parametrize("name", ENDPOINTS)
def test_every_endpoint_can_be_recorded_and_built(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer, says, channels = ENDPOINTS[name]
    with Answering(answer) as server:
        config = str(write(tmp_path, server.url, queries=8))
        path = Path(config)
        path.write_text(path.read_text().replace("direct = 2", "direct = 4").split("[[arms]]")[0])
        assert main(["record", config, "--out", str(tmp_path / "rec")]) == 0
        calls = len(server.requests)
    assert says in capsys.readouterr().err
    assert calls <= 8 * 4 + 16  # a few to find out, then one each
    assert main(["build", config, str(tmp_path / "rec"), "--out", str(tmp_path / "Own")]) == 0
    world = load_world(tmp_path / "Own")
    assert world.recorded.all()
    assert len(world.query_ids) == 8
    assert set(world.channels.present()) - {"quality"} == channels
    assert (world.expected.quality == 1).all()


def test_arms_that_need_scores_are_named_before_money_is_spent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Answering(lambda request: answers(request, logprob=None)) as server:
        config = str(write(tmp_path, server.url, model="logprobs = false", queries=2))
        assert main(["record", config, "--out", str(tmp_path / "rec"), "--max-dollars", "0"]) == 1
        assert server.requests == []
        assert "model 'm' is asked for no log-probabilities" in capsys.readouterr().err
        assert main(["record", config, "--out", str(tmp_path / "rec"), "--resume"]) == 0
        assert all("n" not in request.body and "logprobs" not in request.body for request in server.requests)


def test_samples_of_a_batch_that_broke_off_are_kept(tmp_path: Path) -> None:
    """One sample per call, every third call fails for good: nothing that came is asked for again."""

    def answer(request: Request) -> Response:
        broken = request.body["seed"] % 3 == 0
        return Response(400, {"detail": "unlucky"}) if broken else answers(request)

    with Answering(answer) as server:
        config = write(tmp_path, server.url, model="max_n = 1", queries=6)
        config.write_text(config.read_text().replace("direct = 2", "direct = 4"))
        report = record(load_config(config), tmp_path / "rec")
        rows = read_rows(tmp_path / "rec" / "m.direct.jsonl")
        for _ in range(20):
            report = record(load_config(config), tmp_path / "rec", resume=True)
            if not report.left:
                break
        paid = sum(request.body["seed"] % 3 != 0 for request in server.requests)
    after = read_rows(tmp_path / "rec" / "m.direct.jsonl")
    assert after[: len(rows)] == rows
    assert report.left == 0
    assert Counter((row["query_id"], row["sample"]) for row in after) == Counter(
        (f"q{i}", s) for i in range(6) for s in range(4)
    )
    assert paid == len(after)


def test_a_second_process_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from experiments.__main__ import main as experiments

    config = str(write(tmp_path, "http://127.0.0.1:9/v1"))
    code = (
        "import sys, time; from pathlib import Path; from uis_env.lock import DirectoryLock\n"
        "with DirectoryLock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "out")], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert main(["record", config, "--out", str(tmp_path / "out")]) == 2
        assert experiments(["live", config, "--out", str(tmp_path / "out")]) == 2
    finally:
        holder.kill()
        holder.communicate()
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 2
    assert all("out is in use by another process; wait for it, or choose another --out" in line for line in lines)
    with DirectoryLock(tmp_path / "out"):
        pass  # a killed process holds nothing


DAMAGE: dict[str, Callable[[list[str]], list[str]]] = {
    "missing": lambda lines: [],
    "cut": lambda lines: lines[: len(lines) // 2],
    "NaN": lambda lines: [*lines[:-1], '{"end": "x", "dollars": NaN}\n'],
    "negative": lambda lines: [*lines, '{"end": "x", "dollars": -50}\n'],
    "endless": lambda lines: [*lines, f'{{"end": "x", "dollars": {"9" * 400}}}\n'],
    "no object": lambda lines: [*lines[:-1], "3\n"],
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_journal_that_forgot_stops_the_run_until_it_is_accepted(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Answering(answers) as server:
        config = str(write(tmp_path, server.url))
        out = tmp_path / "rec"
        assert main(["record", config, "--out", str(out)]) == 0
        journal = CallJournal(out / "calls.jsonl")
        spent = journal.spent
        journal.close()
        lines = (out / "calls.jsonl").read_text().splitlines(keepends=True)
        (out / "calls.jsonl").write_text("".join(DAMAGE[name](lines)))
        asked = len(server.requests)
        assert main(["record", config, "--out", str(out), "--resume"]) == 2
        assert "--accept-journal goes on" in capsys.readouterr().err
        assert main(["record", config, "--out", str(out), "--resume", "--accept-journal"]) == 0
        assert float(re.findall(r"\$(\d.*) spent so far", capsys.readouterr().out)[0]) >= round(spent, 4)
        assert main(["record", config, "--out", str(out), "--resume", "--max-dollars", "1"]) == 0
        assert len(server.requests) == asked


def test_a_live_run_does_not_forget_either(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from experiments.__main__ import main as experiments

    with Answering(answers) as server:
        command = ["live", str(write(tmp_path, server.url)), "--out", str(tmp_path / "out")]
        assert experiments(command) == 0
        (tmp_path / "out" / "calls.jsonl").unlink()
        assert experiments(command) == 2
        assert "missing or cut: it accounts for $0.000000" in capsys.readouterr().err
        assert experiments([*command, "--accept-journal"]) == 0
