import csv
import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from experiments.analysis import analyse
from experiments.tables import ranked_table, to_csv, write_tables
from uis_env.bandit import Reward

SUMMARY = (
    "world,scenario,preference,agent,seeds,rounds,reward,reward_lo,reward_hi,reward_qlo,reward_qhi,reward_fresh,"
    "reward_replayed,regret,regret_lo,regret_hi,quality,cost,cost_median,tokens,latency,latency_p50,"
    "latency_p95,latency_p99,pilot_cost,optimal_rate,holdout,holdout_lo,holdout_hi,holdout_qlo,holdout_qhi"
)


@pytest.fixture(scope="module")
def analyses(tiny_cell, tiny_world, cell_factory):
    return analyse([tiny_cell, cell_factory(tiny_world, "lost_model", "other", seeds=4)])


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def show(analysis, width):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(ranked_table(analysis, width))
    return console.file.getvalue()


def test_a_table_of_few_seeds_says_that_no_test_can_reach_the_level(analyses):
    assert "no test can reach" not in show(analyses[0], 120)
    assert "With 4 seeds no test can reach p = .05 (the least is 0.12): play 6 or more." in show(analyses[1], 120)


def test_the_files_hold_every_row_to_six_digits(analyses, tmp_path):
    write_tables(tmp_path, analyses)
    lines = (tmp_path / "summary.csv").read_text().splitlines()
    assert lines[0] == SUMMARY
    rows = read(tmp_path / "summary.csv")
    assert len(rows) == 12
    for row in rows:
        analysis = next(a for a in analyses if tuple(a.key) == (row["world"], row["scenario"], row["preference"]))
        exact = analysis.summary[row["agent"]]
        for name, value in row.items():
            if value == "":
                assert math.isnan(getattr(exact, name))
            elif isinstance(getattr(exact, name), float):
                assert float(value) == pytest.approx(getattr(exact, name), rel=1e-5)
            else:
                assert value == str(getattr(exact, name))
    paired = read(tmp_path / "paired.csv")
    assert len(paired) == 30
    assert {row["family"] for row in paired} == {"primary", "exploratory"}
    assert all((row["p_holm"] == "") == (row["family"] == "exploratory") for row in paired)
    honesty = read(tmp_path / "honesty.csv")
    assert len(honesty) == 12
    assert {row["simulated"] for row in honesty} == {"1"}
    assert not list(tmp_path.glob(".*"))


def test_the_files_are_the_same_bytes_again(analyses, tmp_path, tiny_cell, tiny_world, cell_factory):
    write_tables(tmp_path / "a", analyses)
    write_tables(tmp_path / "b", analyse([tiny_cell, cell_factory(tiny_world, "lost_model", "other", seeds=4)]))
    for name in ("summary.csv", "paired.csv", "honesty.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_blank_is_what_there_is_nothing_to_say_about(world_factory, cell_factory, tmp_path):
    world = world_factory(without=("dollars", "eflops", "tokens"))
    write_tables(tmp_path, analyse([cell_factory(world, reward=Reward(), seeds=1)]))
    row = read(tmp_path / "summary.csv")[0]
    for name in ("reward_lo", "regret_hi", "cost", "cost_median", "tokens", "pilot_cost"):
        assert row[name] == ""
    assert all(row[name] != "" for name in ("latency", "latency_p50", "latency_p95", "latency_p99"))


@given(st.lists(st.floats(allow_infinity=False), min_size=1, max_size=4))
def test_csv_numbers_come_back(values):
    row = next(csv.reader(io.StringIO(to_csv(["x"] * len(values), [values]).split("\n", 1)[1])))
    for text, value in zip(row, values, strict=True):
        assert text == "" if math.isnan(value) else float(text) == pytest.approx(value, rel=1e-5)
    assert "-0" not in [text for text, value in zip(row, values, strict=True) if value == 0]


def test_the_ranked_table_fits_and_says_what_matters(analyses):
    text = show(analyses[0], 80)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert "(simulated)" in lines[0]
    order = [line.split()[1] for line in lines[2:8]]
    assert order == analyses[0].ranking()
    assert all(word in text for word in ("vs best fixed", "of gap", "USD/1k", "best fixed arm", "no signal"))
    learner = next(line for line in lines if " learner " in line)
    assert f"{analyses[0].summary['learner'].reward:.4f}" in learner
    assert f"{analyses[0].honesty['learner'].oracle_share:.0%}" in learner


def test_seconds_have_percentiles_where_there_is_room_and_a_clock(analyses, world_factory, cell_factory):
    wide = show(analyses[0], 120)
    row = analyses[0].summary["learner"]
    assert row.latency_p50 < row.latency_p95 <= row.latency_p99
    learner = next(line for line in wide.splitlines() if " learner " in line)
    assert learner.split()[-3:] == [f"{x:.3g}" for x in (row.latency_p50, row.latency_p95, row.latency_p99)]
    assert all(f"{name} s" in wide for name in ("p50", "p95", "p99"))
    timeless = analyse([cell_factory(world_factory(without=("latency",)), seeds=2)])[0]
    assert "p95" not in show(timeless, 120) and math.isnan(timeless.summary["learner"].latency_p95)


@pytest.mark.parametrize("width", [20, 30, 40, 60])
def test_narrow_terminals_lose_columns_not_rows(analyses, width):
    lines = show(analyses[0], width).splitlines()
    assert max(map(len, lines)) <= width
    assert sum("learner" in line for line in lines) == 1
    if width == 40:
        assert any("reward" in line for line in lines)
        assert not any("of gap" in line for line in lines)


def test_long_names_are_cut(tiny_world, cell_factory):
    policies = {"a" * 64: lambda bandit, tape, random: np.zeros(len(tape.query), int)}
    text = show(analyse([cell_factory(tiny_world, policies=policies, seeds=2)])[0], 80)
    assert "a" * 23 + "…" in text
    assert max(map(len, text.splitlines())) <= 80
