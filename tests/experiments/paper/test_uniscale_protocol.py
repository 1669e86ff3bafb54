"""The paper's protocol: claims fit the configs and are judged as said; measures equal sums by hand; files are whole."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import paper
from experiments.config import ConfigError, load_config, parse_config
from experiments.paper import uniscale
from experiments.paper.claims import Finding, Section, counts, evaluate, judge
from experiments.paper.claims import load_claims as load
from experiments.paper.uniscale import PROTOCOL, measures
from experiments.paper.uniscale.claims import CLAIMS, Claim, find
from experiments.paper.uniscale.measures import Window
from experiments.results import AgentRuns, Entrant
from experiments.statistics import Estimate

FOLDER = Path(__file__).parents[3] / "paper_configs"


def load_claims(path: Path = CLAIMS):
    return load(path, Claim)


@pytest.fixture(scope="module")
def own_cell(tiny_world, cell_factory):
    """Six agents, two of them of the kinds that the report looks for, 210 rounds as in the protocol."""
    cell = cell_factory(tiny_world, rounds=210, bin_rounds=10, seeds=6)
    agents = {"uniscale": cell.agents["learner"], "knn": cell.agents["slow"], **cell.agents}
    kinds = {name: Entrant(name, "learner") for name in ("uniscale", "knn")}
    return replace(cell, agents=agents, entrants=kinds | cell.entrants)


@pytest.fixture(scope="module")
def drifting(tiny_world, cell_factory):
    return cell_factory(tiny_world, "lost_model", rounds=630, bin_rounds=10, seeds=6)


def with_regret(cell, curves):
    """The cell with these (S, C) regret curves by agent."""
    agents = {}
    for name, curve in curves.items():
        runs: AgentRuns = cell.agents[name]
        agents[name] = replace(runs, curves={**runs.curves, "regret": np.asarray(curve, np.float32)})
    return replace(cell, agents=agents)


def test_every_claim_is_about_an_agent_in_a_cell_of_its_config():
    for section in load_claims():
        config = load_config(FOLDER / f"{section.config}.toml")
        assert config.name in PROTOCOL.configs
        worlds, agents = ({part.name for part in parts} for parts in (config.worlds, config.agents))
        assert set(section.worlds) <= worlds
        for claim in section.claims:
            assert claim.scenario in {part.name for part in config.scenarios}
            assert claim.preference in {part.name for part in config.preferences}
            assert {claim.agent, claim.other or claim.agent} <= agents
            assert claim.other_world is None or claim.other_world in worlds
            for mark in claim.rounds or ():
                assert mark % -(-config.rounds // config.bins) == 0 and mark <= config.rounds


def test_published_comparisons_are_those_of_the_published_values():
    for section in load_claims():
        values = {(c.agent, c.metric): c.published for c in section.claims if c.other is None}
        for claim in section.claims:
            mine, other = values.get((claim.agent, claim.metric)), values.get((claim.other, claim.metric))
            if claim.published is not None and mine is not None and other is not None:
                expected = mine / other if claim.compare == "ratio" else mine - other
                assert claim.published == pytest.approx(expected, rel=2e-2 if claim.compare == "ratio" else 1e-9)


def test_protocol_is_the_papers():
    main = load_config(FOLDER / "uniscale_main.toml")
    assert (main.rounds, main.rounds // main.bins) == (210, 10)
    for name in PROTOCOL.configs:
        config = load_config(FOLDER / f"{name}.toml")
        assert config.name == name
        learners = [agent for agent in config.agents if agent.what not in ("oracle", "best_fixed", "random")]
        for agent in learners:
            if agent.what not in ("uniscale", "fixed_elsewhere"):  # UniScale's own default is 50
                assert agent.options["warmup"] == 50
        assert {"best_fixed", "oracle", "random", "uniscale", "arm_only"} <= {agent.name for agent in config.agents}


def test_measures_are_sums_over_the_rounds_of_a_window(own_cell):
    curve = own_cell.agents["learner"].curves
    np.testing.assert_allclose(
        measures.measure(own_cell, "learner", "reward", Window(50, 210)),
        curve["reward"][:, 5:].sum(axis=1) / 160,
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        measures.measure(own_cell, "learner", "regret", Window(0, 130), 4),
        curve["regret"][:4, :13].sum(axis=1),
        rtol=1e-6,
    )
    accuracy = measures.measure(own_cell, "learner", "accuracy", Window(0, 210))
    np.testing.assert_allclose(accuracy, own_cell.agents["learner"].totals["quality"] / 210, rtol=1e-5)


@pytest.mark.parametrize("window", [(5, 20), (0, 15), (20, 20), (0, 300)])
def test_windows_that_cut_a_bin_are_refused(own_cell, window):
    with pytest.raises(ValueError, match=r"rounds \d+..\d+ (do not end bins|are not a part)"):
        measures.bins(own_cell, Window(*window))


def test_median_cost_is_of_the_arms_that_were_played(own_cell):
    pulls = own_cell.agents["random"].arms[5:].sum(axis=0)
    costs = np.repeat(own_cell.references["arms"]["cost"], pulls)
    assert measures.median_cost(own_cell, "random", Window(50, 210)) == pytest.approx(np.median(costs), rel=1e-6)


@pytest.mark.parametrize(("lost", "recover"), [(0, 0), (40, 70), (200, 210)])
def test_recovery_counts_the_rounds_until_regret_is_as_before(drifting, lost, recover):
    """Regret per bin 1, twice that for `lost` rounds after the change at 210, seen through 30 rounds."""
    curve = np.ones((6, 63))
    curve[:, 21 : 21 + lost // 10] = 2
    cell = with_regret(drifting, {"learner": curve, "random": np.full((6, 63), 5.0)})
    found = measures.recovery(cell, "learner", Window(210, 420), "random")
    assert found.recover == (recover, recover, recover)
    assert found.before == pytest.approx(0.1)
    assert found.after == pytest.approx(0.1 if not lost else 0.2)
    assert found.settle.value == recover


def test_recovery_compares_shares_of_what_the_yardstick_loses(drifting):
    """Everything is three times as hard after the change, and nothing is lost by that."""
    harder = np.where(np.arange(63) < 21, 1.0, 3.0) * np.ones((6, 1))
    cell = with_regret(drifting, {"learner": harder, "random": 5 * harder})
    assert measures.recovery(cell, "learner", Window(210, 420), "random").recover == (0, 0, 0)


COMPARED = {"text": "more", "preference": "plain", "agent": "uniscale", "metric": "reward", "other": "knn"}


@pytest.mark.parametrize(
    ("changes", "ours", "verdict"),
    [
        ({"published": 0.05}, (0.04, 0.03, 0.06), "yes"),
        ({"published": 0.05}, (0.02, 0.01, 0.03), "sign only"),
        ({"published": 0.05}, (0.02, -0.01, 0.08), "cannot tell"),
        ({"published": 0.05}, (0.05, 0.02, 0.08), "cannot tell"),  # as close as can be, and too wide
        ({"published": 0.05}, (0.05, 0.026, 0.074), "yes"),
        ({"published": 0.05}, (0.0, -0.01, 0.01), "no"),  # narrow, and shows no side
        ({"published": 0.05}, (-0.02, -0.03, -0.01), "no"),
        ({"published": -0.05}, (-0.02, -0.03, -0.01), "sign only"),
        ({"published": 0.15, "compare": "ratio"}, (0.6, 0.5, 0.7), "sign only"),
        ({"published": 0.15, "compare": "ratio"}, (0.6, 0.1, 1.1), "cannot tell"),
        ({"published": 1.2, "compare": "ratio"}, (0.6, 0.5, 0.7), "no"),
        ({"expect": "above"}, (0.02, 0.01, 0.03), "yes"),
        ({"expect": "below"}, (0.02, 0.01, 0.03), "no"),
        ({"expect": "below"}, (0.02, -0.01, 0.03), "cannot tell"),
        ({"other": None, "published": 0.7}, (0.71, 0.69, 0.73), "yes"),
        ({"other": None, "published": 0.8}, (0.71, 0.69, 0.73), "no"),
        ({"other": None, "published": 0.1}, (0.71, 0.6, 0.8), "cannot tell"),
        ({"published": 0.05}, (0.04, np.nan, np.nan), ""),
    ],
)
def test_verdicts(changes, ours, verdict):
    assert judge(Claim(**{**COMPARED, **changes}), Estimate(*ours)) == verdict


@given(
    published=st.floats(-2, 2).filter(lambda x: abs(x) > 1e-3),
    value=st.floats(-2, 2),
    half=st.floats(0, 4),
    wider=st.floats(1, 10),
)
def test_a_wider_interval_never_agrees_more(published, value, half, wider):
    claim = Claim(**COMPARED, published=published)
    narrow, wide = (judge(claim, Estimate(value, value - h, value + h)) for h in (half, half * wider))
    if wide == "yes":  # then the published number was near enough, and the width small enough, all along
        assert half <= abs(published) / 2
        assert narrow in ("yes", "sign only")
    if narrow == "cannot tell":
        assert wide == "cannot tell"


def finding(text, ours, blind=None, section=None, **more):
    claim = Claim(**{**COMPARED, "text": text}, published=0.05, **more)
    section = section or Section(title="t", config="run", claims=(claim,))
    return Finding(section, claim, "A", True, Estimate(*ours), 5, blind=blind and Estimate(*blind))


def test_each_published_number_counts_once_and_only_if_it_is_free():
    yes, no, wide = (0.05, 0.04, 0.06), (-0.05, -0.06, -0.04), (0.05, -0.1, 0.2)
    fitted = Section(title="f", config="run", fitted=True, claims=(Claim(**COMPARED, published=0.05),))
    ours = Section(title="o", config="run", published=False, claims=(Claim(**COMPARED, published=0.05),))
    found = [
        finding("a", yes),
        finding("a", no),  # the same claim in another world: the worse verdict counts
        finding("b", yes, number="n"),
        finding("c", wide, number="n"),
        finding("d", yes, fitted=True),
        finding("e", yes, section=fitted),
        finding("g", yes, blind=yes),
        finding("h", yes, blind=no),
        finding("i", (0.02, 0.01, 0.03)),
        finding("j", yes, section=ours),
    ]
    assert [one.status for one in found] == ["free"] * 4 + ["fitted"] * 2 + ["by construction"] + ["free"] * 2 + [""]
    assert counts(found) == (
        "7 published comparisons: fitted 2, by construction 1, free 4: 1 yes / 2 no (1 with the sign) / 1 cannot tell"
    )
    # one of two worlds says more than the construction
    assert "by construction 0, free 1: 0 yes / 1 no" in counts([finding("k", yes, blind=yes), finding("k", no)])


def test_claims_are_evaluated_on_the_runs(own_cell):
    claims = (
        Claim(**COMPARED, published=0.1),
        Claim(**{**COMPARED, "metric": "cost"}, compare="ratio", published=0.5),
        Claim(**{**COMPARED, "metric": "accuracy", "other": None}, published=50.0),
        Claim(**{**COMPARED, "metric": "regret"}, published=-1.0, rounds=(0, 130)),
    )
    section = Section(title="t", config="run", worlds=("Tiny",), claims=claims)
    missing = Section(title="t", config="not run", claims=claims)
    reward, cost, accuracy, regret = evaluate([section, missing], {"run": [own_cell]}, find)
    mine, other = own_cell.agents["uniscale"].curves, own_cell.agents["knn"].curves
    gained = (mine["reward"][:, 5:] - other["reward"][:, 5:]).sum(axis=1, dtype=float) / 160
    assert reward.ours.value == pytest.approx(gained.mean())
    assert reward.few.value == pytest.approx(gained[:5].mean())
    assert cost.ours.value == pytest.approx(mine["cost"][:, 5:].sum() / other["cost"][:, 5:].sum(), rel=1e-5)
    assert accuracy.ours.value == pytest.approx(100 * mine["quality"][:, 5:].sum() / 160 / 6, rel=1e-5)
    expected = (mine["regret"][:, :13] - other["regret"][:, :13]).sum(axis=1, dtype=float).mean()
    assert regret.ours.value == pytest.approx(expected)
    assert all(finding.simulated and finding.verdict for finding in (reward, cost, accuracy, regret))
    with pytest.raises(ConfigError, match="claim 'more': run has no agent 'nobody'"):
        evaluate([Section(title="t", config="run", worlds=("Tiny",), claims=(
            Claim(**{**COMPARED, "agent": "nobody"}, expect="above"),))], {"run": [own_cell]}, find)  # fmt: skip
    with pytest.raises(ConfigError, match="claim 'more': run has no cell 'Mars · stationary · plain'"):
        evaluate([Section(title="t", config="run", worlds=("Mars",), claims=claims)], {"run": [own_cell]}, find)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{ text = "x", preference = "p", agent = "a", metric = "reward" }', "expected either a published number or"),
        ('{ text = "x", preference = "p", agent = "a", metric = "reward", expect = "above" }', "compares two agents"),
        (
            '{ text = "x", preference = "p", agent = "a", metric = "luck", published = 1.0 }',
            "Invalid enum value 'luck'",
        ),
        ('{ text = "x", colour = "red" }', "unknown field `colour`"),
    ],
)
def test_a_bad_claim_is_refused_with_its_place(tmp_path, line, message):
    path = tmp_path / "claims.toml"
    path.write_text(f'[[sections]]\ntitle = "t"\nconfig = "c"\nclaims = [{line}]\n')
    with pytest.raises(ConfigError, match=message) as error:
        load_claims(path)
    assert str(path) in str(error.value)
    assert "claims[0]" in str(error.value) or "claims[...]" in str(error.value)


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_files_hold_every_claim_agent_and_drift(own_cell, drifting, tmp_path, monkeypatch):
    monkeypatch.setattr(uniscale, "HORIZONS", "horizons")
    claims = tmp_path / "claims.toml"
    line = '{ text = "a <b> claim", preference = "plain", agent = "uniscale", other = "knn", metric = "reward", '
    claims.write_text(
        f'[[sections]]\ntitle = "Main"\nconfig = "uniscale_main"\nworlds = ["Tiny"]\n'
        f'claims = [{line}published = -0.5, why = "it is tiny" }}]\n'
    )
    protocol = PROTOCOL._replace(claims=claims)
    config = parse_config(
        {"name": "any", "rounds": 210, "seeds": 6, "worlds": [{"name": "Tiny"}], "preferences": [{"name": "plain"}],
         "agents": [{"name": "random"}]},
        "test",
    )  # fmt: skip
    cells = {"uniscale_main": [own_cell], "drift": [drifting], "horizons": [own_cell]}
    findings = paper.write(
        protocol, tmp_path, cells, dict.fromkeys(cells, config), {"uniscale_livecodebench": "no data"}
    )
    (claim,) = table((tmp_path / "claims.csv").read_text())
    assert claim["agrees"] == findings[0].verdict == "no"
    assert float(claim["ours"]) == pytest.approx(findings[0].ours.value, rel=1e-4)
    agents = table((tmp_path / "agents.csv").read_text())
    assert len(agents) == 2 * len(own_cell.agents) + len(drifting.agents)
    own = next(row for row in agents if row["agent"] == "uniscale")
    assert float(own["own"]) == 0
    assert float(own["fixed"]) == pytest.approx(
        measures.measure(own_cell, "uniscale", "reward", Window(50, 210)).mean()
        - measures.measure(own_cell, "best_fixed", "reward", Window(50, 210)).mean(), abs=1e-6,
    )  # fmt: skip
    drifts = table((tmp_path / "recovery.csv").read_text())
    assert [row["change"] for row in drifts] == ["210"] * 5 + ["420"] * 5
    assert {row["horizon"] for row in table((tmp_path / "horizons.csv").read_text())} == {"210"}
    text = (tmp_path / "report.html").read_text()
    assert "a &lt;b&gt; claim" in text and "a <b> claim" not in text
    assert "it is tiny" in text
    assert "<b>simulated</b>" in text and "(simulated)" in text
    assert "Not run: uniscale_livecodebench." in text
    assert not re.search(r"(src|href)=\"(?!uniscale_main/|drift/|horizons/)", text)
    for title in ("Cumulative regret", "Reward over time", "Correct answers against cost", "Learning curve"):
        assert title in text
    assert text.count("<svg") == 5


def test_the_command_plays_what_it_is_asked_and_says_what_it_leaves_out(tmp_path, monkeypatch, capsys):
    """A small world through the real runner: claims of configs that are not run are left out."""
    (tmp_path / "uniscale_main.toml").write_text(
        """name = "uniscale_main"
rounds = 100
seeds = 4
block = 2
bins = 10
worlds = [{ name = "A", kind = "Synthetic", arms = "text" }, { name = "B", kind = "Synthetic", arms = "text" }]
preferences = [{ name = "cost-sensitive", cost = 20.0 }]
agents = [{ name = "best_fixed" }, { name = "oracle" }, { name = "random" }, { name = "uniscale" }]
"""
    )
    (tmp_path / "uniscale_livecodebench.toml").write_text(
        (FOLDER / "uniscale_livecodebench.toml").read_text(encoding="utf-8")
    )
    claims = tmp_path / "claims.toml"
    line = '{ text = "c", preference = "cost-sensitive", agent = "oracle", other = "random", metric = "reward", '
    claims.write_text(f'[[sections]]\ntitle = "t"\nconfig = "uniscale_main"\nclaims = [{line}expect = "above" }}]\n')
    monkeypatch.setattr(paper, "PROTOCOLS", {"uniscale": PROTOCOL._replace(claims=claims)})
    monkeypatch.setattr(paper, "CONFIGS", tmp_path)
    monkeypatch.delenv("UIS_DATA", raising=False)
    out = tmp_path / "out"
    assert paper.command(["uniscale"], out, seeds=3, workers=1, only=["uniscale_main", "uniscale_livecodebench"]) == 0
    said = capsys.readouterr().out
    assert "uniscale_livecodebench is left out" in said
    assert "1 published comparison: fitted 0, by construction 0, free 1: 1 yes / 0 no" in " ".join(said.split())
    assert "UniScale" in (out / "report.html").read_text()
    out = out / "uniscale"
    rows = table((out / "agents.csv").read_text())
    assert {row["agent"] for row in rows} == {"best_fixed", "oracle", "random", "uniscale"}
    assert {row["seeds"] for row in rows} == {"3"}
    assert (out / "uniscale_main" / "report.html").exists()
    with pytest.raises(ConfigError, match=r"unknown config \['uniscale_nothing'\]; expected some of uniscale_main"):
        paper.command([], out, only=["uniscale_nothing"])
    with pytest.raises(ConfigError, match=r"unknown protocol \['nobody'\]; expected some of uniscale"):
        paper.command(["nobody"], out)


def test_claims_file_is_at_hand():
    assert CLAIMS.exists()
    assert sum(len(section.claims) for section in load_claims()) > 80
