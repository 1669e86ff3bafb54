"""The latency paper's protocol: claims fit the configs; values, shares, crossings and areas are measured as said."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from experiments import paper
from experiments.config import ConfigError, load_config
from experiments.paper.claims import Section, evaluate, load_claims
from experiments.paper.latency import PROTOCOL
from experiments.paper.latency.claims import CLAIMS, Claim, find, measure
from experiments.sweeps import measures
from experiments.sweeps.measures import Policy
from uis_env.worlds.latency_aware.targets import ARMS, TARGETS

FOLDER = Path(__file__).parents[3] / "paper_configs"
REFERENCES = {"best_fixed", "fixed_elsewhere", "random", "oracle", "oracle_cross_fitted", "oracle_published"}


def test_the_sweeps_are_the_published_ones():
    for name in PROTOCOL.configs:
        config = load_config(FOLDER / f"{name}.toml")
        assert config.name == name
        swept = config.swept
        assert len(swept) == 191  # 200, and 9 of them twice
        tokens = {p.tokens for p in swept if p.latency == 0}
        latency = {p.latency for p in swept if p.tokens == 0}
        assert sorted(tokens) == pytest.approx(np.logspace(-7, -1, 25))
        assert sorted(latency) == pytest.approx(np.logspace(-5, -1, 25))
        for other in (1e-4, 1e-3, 1e-2):
            assert sum(p.latency == other for p in swept) >= 25
        for other in (1e-7, 1e-6, 1e-5):
            assert sum(p.tokens == other for p in swept) >= 25


def test_every_claim_is_about_a_policy_and_prices_of_its_config():
    static = {arm.name.partition("/")[2] for arm in ARMS} | {"best"}
    for section in load_claims(CLAIMS, Claim):
        config = load_config(FOLDER / f"{section.config}.toml")
        assert set(section.worlds) <= {part.name for part in config.worlds}
        prices = {(p.tokens, p.latency) for p in config.swept}
        for claim in section.claims:
            for policy in (claim.policy, claim.other or claim.policy):
                if policy.startswith("static:"):
                    assert policy.removeprefix("static:") in static
                else:
                    assert policy in REFERENCES | {agent.name for agent in config.agents}
            if claim.axis is None and not claim.policy.startswith("static:"):
                assert (claim.tokens, claim.latency) in prices


def test_published_comparisons_of_static_configurations_are_those_of_the_published_tables():
    names = {arm.name.partition("/")[2]: arm for arm in ARMS}
    checked = 0
    for section in load_claims(CLAIMS, Claim):
        target = TARGETS.get(section.worlds[0])
        for claim in section.claims:
            pair = [names.get((policy or "").removeprefix("static:")) for policy in (claim.policy, claim.other)]
            if target is None or None in pair:
                continue
            mine, other = (getattr(target, claim.metric)[arm] for arm in pair)
            expected = mine / other if claim.compare == "ratio" else 100 * (mine - other)
            assert claim.published == pytest.approx(expected, rel=1e-2, abs=1e-9)
            checked += 1
    assert checked == 10


def ours(sweep, **fields):
    return measure(sweep, Claim(**{"text": "x", "published": 1.0, "policy": "probe", **fields}))


def test_values_and_their_comparisons(small):
    _, _, sweep = small
    probe, place = sweep.policies["probe"], 0
    found = ours(sweep, metric="accuracy", tokens=1e-6)
    assert found.value == pytest.approx(100 * probe.value[:, :, place, 0].mean())
    assert found == pytest.approx(measures.estimate(100 * probe.value[:, :, place, 0]))
    arm = next(i for i, one in enumerate(ARMS) if one.name.endswith("/majority@2"))
    tokens = sweep.static.value[:, 0, arm, 1].mean()
    ratio = ours(sweep, metric="tokens", tokens=1e-6, other="static:majority@2", compare="ratio")
    assert ratio.value == pytest.approx(probe.value[:, :, place, 1].mean() / tokens)
    best = ours(sweep, metric="accuracy", policy="static:best")
    assert best.value == pytest.approx(100 * sweep.static.mean[:, 0].max())
    assert ours(sweep, metric="accuracy", policy="oracle", tokens=1e-6, other="oracle").value == 0


def chosen(sweep, arms):
    """The sweep with a policy "made" that plays (P,) arms at every question, by two seeds."""
    arm = np.broadcast_to(np.array(arms), (len(sweep.game.questions), 2, len(arms)))
    value = sweep._table[np.arange(len(arm))[:, None, None], arm]
    made = replace(sweep)
    made.__dict__["policies"] = {**sweep.policies, "made": Policy("made", value, arm)}
    return made


def test_shares_and_crossings(small):
    _, _, sweep = small
    along = sweep.along("seconds")
    two, many = (next(i for i, one in enumerate(ARMS) if one.name.endswith(f"/majority@{n}")) for n in (2, 32))
    arms = np.full(len(sweep.game.preferences), many)
    arms[along[2:]] = two
    made = chosen(sweep, arms)
    share = {"policy": "made", "metric": "share", "budgets": (2,)}
    assert ours(made, **share, latency=1e-1) == (100, 100, 100)
    assert ours(made, **share, latency=1e-4) == (0, 0, 0)
    assert ours(made, **share, latency=1e-4, other_budgets=(32,)).value == -100
    assert ours(made, **{**share, "methods": ("majority",)}, latency=1e-1).value == 100
    crossing = {"policy": "made", "metric": "crossing", "budgets": (2,), "other_budgets": (32,), "axis": "seconds"}
    assert ours(made, **crossing) == pytest.approx((1e-2, 1e-2, 1e-2))
    never = ours(chosen(sweep, np.full(len(arms), many)), **crossing)
    assert never.value == np.inf
    always = ours(chosen(sweep, np.full(len(arms), two)), **crossing)
    assert always.value == pytest.approx(1e-4)


def test_a_static_policy_gains_nothing_over_static_configurations(small):
    _, _, sweep = small
    area = ours(sweep, policy="oracle", metric="area", axis="tokens")
    assert area.low > 0
    found = ours(sweep, policy="best_fixed", metric="area", axis="tokens")
    assert found.value == pytest.approx(0, abs=1.0) and found.value <= 1e-9
    place = float(sweep.static.mean[:, 1].max())
    there = ours(sweep, policy="oracle", metric="accuracy", axis="tokens", at=place)
    assert there.value == pytest.approx(100 * sweep.policies["oracle"].mean[sweep.along("tokens"), 0].max())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"policy": "nobody", "metric": "accuracy"}, "run has no policy 'nobody'"),
        ({"policy": "static:magic@3", "metric": "accuracy"}, "run has no static configuration 'magic@3'"),
        ({"metric": "accuracy", "tokens": 0.5}, "run has no preference λ_T = 0.5, λ_L = 0"),
        ({"metric": "share", "tokens": 1e-6, "budgets": (3,)}, r"run has no arm with methods None and budgets \(3,\)"),
    ],
)
def test_claims_about_what_is_not_there_are_refused(small, fields, message):
    claim = Claim(**{"text": "x", "published": 1.0, "policy": "probe", **fields})
    section = Section(title="t", config="run", worlds=("small",), claims=(claim,))
    with pytest.raises(ConfigError, match=f"claim 'x': {message}"):
        evaluate([section], {"run": [small[2]]}, find)
    with pytest.raises(ConfigError, match="run has no world 'elsewhere'"):
        evaluate([Section(title="t", config="run", worlds=("elsewhere",), claims=(claim,))], {"run": [small[2]]}, find)


@pytest.mark.parametrize("fields", [{"metric": "area"}, {"metric": "accuracy", "axis": "tokens"}])
def test_an_axis_belongs_to_areas_crossings_and_places(fields):
    with pytest.raises(ValueError, match="expected an axis for an area, a crossing or a place"):
        Claim(text="x", published=1.0, policy="probe", **fields)


def test_what_a_chooser_of_one_configuration_does_as_well_is_by_construction(small):
    """Where tokens are expensive, the smallest configurations win without a look at the query."""
    _, _, sweep = small
    claim = Claim(
        text="x", policy="arm_only", metric="share", tokens=1e-3, budgets=(2,), other_budgets=(32,), expect="above"
    )
    section = Section(title="t", config="run", worlds=("small",), claims=(claim,))
    [found] = evaluate([section], {"run": [sweep]}, find)
    assert found.blind == measure(sweep, msgspec.structs.replace(claim, policy="best_fixed"))
    chosen = sweep.policies["best_fixed"]
    place = [i for i, p in enumerate(sweep.game.preferences) if np.isclose(p.tokens, 1e-3) and p.latency == 0]
    arm = sweep.game.world.catalog.arms[int(chosen.arm[0, 0, place[0]])]
    assert found.status == ("by construction" if arm.budget[0] == 2 else "free")
    oracle = msgspec.structs.replace(claim, policy="oracle")
    [other] = evaluate([Section(title="t", config="run", worlds=("small",), claims=(oracle,))], {"run": [sweep]}, find)
    assert other.blind is None and other.status == "free"


def test_fitted_claims_are_those_of_the_calibration():
    """Static configurations and the oracle's accuracy are targets of the fit; nothing that an agent does is."""
    for section in load_claims(CLAIMS, Claim):
        for claim in section.claims:
            static = claim.policy.startswith("static:")
            oracle = claim.policy == "oracle_published" and claim.metric == "accuracy" and section.published
            assert (section.fitted or claim.fitted) == (static or oracle), claim.text


def test_the_report_holds_claims_figures_and_tables(small, tmp_path, sweep_config):
    claims = tmp_path / "claims.toml"
    claims.write_text(
        '[[sections]]\ntitle = "T"\nconfig = "run"\nworlds = ["small"]\nclaims = [{ text = "a <b> claim", '
        'policy = "oracle", axis = "tokens", metric = "area", expect = "below", why = "it is an oracle" }]\n'
    )
    protocol = PROTOCOL._replace(claims=claims)
    cells, configs = {"run": [small[2]]}, {"run": sweep_config()}
    [finding] = paper.write(protocol, tmp_path, cells, configs, {"latency_recorded": "no data"})
    assert finding.verdict == "no" and finding.simulated
    text = (tmp_path / "report.html").read_text()
    assert "a &lt;b&gt; claim" in text and "it is an oracle" in text and "Not run: latency_recorded." in text
    assert text.count("<svg") == 10 and text.count("(simulated)") > 10
    assert "http://" not in text and "https://" not in text
    tables = {
        name: list(csv.DictReader(io.StringIO((tmp_path / f"{name}.csv").read_text())))
        for name in ("claims", "points", "static", "shares", "area", "equal", "calibration")
    }
    assert tables["claims"][0]["agrees"] == "no" and tables["claims"][0]["simulated"] == "1"
    assert len(tables["points"]) == 8 * 12 and len(tables["static"]) == 22
    assert {row["policy"] for row in tables["calibration"]} == {"probe"}
    by_method = [r for r in tables["shares"] if r["by"] == "method" and r["policy"] == "probe"]
    assert len(by_method) == 4 * 12
    assert len(tables["equal"]) == 2 * 2 * 22
    row = next(r for r in tables["static"] if r["arm"].endswith("/best_of_n@8"))
    assert float(row["published_accuracy"]) == 0.361
