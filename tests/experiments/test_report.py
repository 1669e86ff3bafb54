import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape

import numpy as np
import pytest

from experiments.analysis import analyse
from experiments.report import write_report
from experiments.report.data import CATEGORIES, payload, tidy
from experiments.report.findings import findings
from uis_env.arms import Arm
from uis_env.bandit import Reward

MANIFEST = {
    "config": {"name": "a-run", "description": "what <script>alert(1)</script> it is"},
    "config_hash": "0123456789abcdef",
    "versions": {"python": "3.11.0", "jax": "0.10.2"},
    "seeds_per_call": {"learner": 4},
    "git_commit": None,
}


@pytest.fixture(scope="module")
def analyses(tiny_cell, tiny_world, cell_factory):
    free = cell_factory(tiny_world, "lost_model", "free", reward=Reward(), seeds=5, charges={"slow": 10.0})
    return analyse([tiny_cell, free])


@pytest.fixture(scope="module")
def report(analyses, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(analyses, MANIFEST, path)
    return path


def embedded(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S).group(1))


def told(analyses):
    return {finding.title: finding for finding in findings(analyses)}


def test_the_page_needs_no_network_and_holds_no_markup_from_outside(report):
    text = report.read_text()
    assert set(re.findall(r"https?://[^\"'\s]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"(src|href)\s*=|@import|url\((?!#)", text)
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert text.count("</script>") == 4


def test_the_same_results_give_the_same_bytes(report, analyses, tmp_path, tiny_cell, tiny_world, cell_factory):
    again = tmp_path / "again.html"
    free = cell_factory(tiny_world, "lost_model", "free", reward=Reward(), seeds=5, charges={"slow": 10.0})
    write_report(analyse([tiny_cell, free]), MANIFEST, again)
    assert again.read_bytes() == report.read_bytes()


def test_simulated_worlds_are_labelled_wherever_they_show(report, tiny_cell, tiny_world, cell_factory, world_factory):
    text = report.read_text()
    assert "Tiny: simulated outcomes" in text
    headings = re.findall(r"<h2>Tiny.*?</h2>", text)
    assert len(headings) == 2
    assert all("simulated" in heading for heading in headings)
    real = cell_factory(world_factory(name="Real", simulated=False), seeds=3)
    several = analyse([tiny_cell, real])
    path = report.parent / "several.html"
    write_report(several, MANIFEST, path)
    text = path.read_text()
    shown = re.findall(r">(Tiny[^<]*)<", re.sub(r"<script.*", "", text, flags=re.S))
    assert shown
    assert all("simulated" in part for part in shown if "·" not in part)
    assert "Real: recorded outcomes" in text
    assert "Real (simulated)" not in text
    assert all("(simulated)" in f.text for f in findings(several) if "Tiny" in f.text)


def test_the_numbers_behind_the_figures(report, analyses):
    data = embedded(report.read_text())
    assert {k: v for k, v in data.items() if k not in ("name", "start")} == json.loads(
        json.dumps(payload(analyses), allow_nan=False)
    )
    assert data["name"] == "a-run"
    assert data["start"] == findings(analyses)[0].cell
    assert [agent["name"] for agent in data["agents"]] == list(analyses[0].cell.agents)
    for cell, analysis in zip(data["cells"], analyses, strict=True):
        assert cell["key"] == list(analysis.key)
        assert [agent["name"] for agent in cell["agents"]] == analysis.ranking()
        assert cell["x"][-1] == 400
        for agent in cell["agents"]:
            runs = analysis.cell.agents[agent["name"]]
            total = (runs.totals["regret"] + runs.totals["pilot_charge"]).mean()
            assert agent["regret"]["mean"][-1] == pytest.approx(total, rel=1e-4, abs=1e-6)
            fixed = analysis.cell.agents["best_fixed"].totals["regret"].mean()
            assert agent["lead"]["mean"][-1] == pytest.approx(fixed - total, rel=1e-3, abs=1e-3)
            for name, shares in agent["arms"].items():
                assert len(shares) == len(cell["categories"][name])
                assert np.abs(np.sum(shares, axis=0) - 1000).max() <= len(shares)
    assert data["cells"][1]["segments"] == [0, 133, 267]


def test_shares_are_those_of_the_pulls(tiny_cell, analyses):
    cell = payload(analyses)["cells"][0]
    agent = next(agent for agent in cell["agents"] if agent["name"] == "stubborn")
    assert cell["categories"] == {
        "model": ["small", "large"],
        "method": ["single", "best_of_n", "majority"],
        "budget": ["1", "4", "8"],
    }
    bins = len(cell["areas"])
    assert agent["arms"]["model"] == [[0] * bins, [1000] * bins]
    assert agent["arms"]["budget"] == [[0] * bins, [1000] * bins, [0] * bins]


def test_many_categories_end_in_other(world_factory, cell_factory):
    arms = tuple(Arm("m", "tree_search", (i, 2)) for i in range(1, 15))
    cell = cell_factory(world_factory(arms=arms), seeds=2)
    shown = payload(analyse([cell]))["cells"][0]
    names = shown["categories"]["budget"]
    assert len(names) == CATEGORIES
    assert names[-1] == "other"
    assert all(
        abs(sum(column) - 1000) < 10 for a in shown["agents"] for column in zip(*a["arms"]["budget"], strict=True)
    )


def test_tidy_is_plain_and_short():
    assert tidy({"a": [1.23456789, float("nan"), np.float32(0.5), None, 3, "x"]}) == {
        "a": [1.2346, None, 0.5, None, 3, "x"]
    }


def test_findings_when_a_learner_wins(analyses):
    found = told(analyses)
    verdict = next(f for title, f in found.items() if re.search("beat|led", title) and "best fixed arm" in title)
    assert not verdict.title.startswith("No learner")
    wins = [(a, r) for a in analyses for r in a.versus_best_fixed().values() if r.p_holm < 0.05 and r.difference > 0]
    wins = [(a, r) for a, r in wins if r.agent not in ("random", "oracle")]
    best = max((r for _, r in wins), key=lambda r: r.difference)
    assert best.agent in verdict.text
    assert f"{best.difference:+.3f}" in verdict.text
    assert "The context shows no signal" in found
    share = max(a.honesty["learner"].oracle_share for a in analyses)
    assert f"learner closes {share:.0%} of the gap to the oracle" in found


def test_the_first_card_counts_by_the_stricter_interval(analyses):
    def with_queries(low):
        changed = []
        for analysis in analyses:
            rows = [row._replace(difference_qlo=low, difference_qhi=0.5, p_holm=0.01) for row in analysis.paired]
            changed.append(replace(analysis, paired=rows))
        return findings(changed)[0]

    assert with_queries(0.01).title == "learner beat the best fixed arm in 2 of 2 comparisons"
    assert with_queries(0.01).tone == "good"
    doubtful = with_queries(-0.01)
    assert doubtful.title.endswith("but not beyond doubt")
    assert "includes zero" in doubtful.text
    assert doubtful.tone == "plain"


def held_out(analyses, lead, low):
    return [
        replace(
            analysis,
            summary={
                name: row._replace(
                    holdout=lead, holdout_lo=low, holdout_hi=lead + 0.1, holdout_qlo=low, holdout_qhi=0.5
                )
                for name, row in analysis.summary.items()
            },
        )
        for analysis in analyses
    ]


def test_cards_say_which_leads_hold_on_new_queries(analyses):
    kept, lost = findings(held_out(analyses, 0.3, 0.2)), findings(held_out(analyses, 0.001, -0.1))
    assert re.search(r"hold-out\) (the lead holds|\d of these (\d) leads hold)", kept[0].text)
    assert kept[1].title == "What was learned holds on new queries"
    assert lost[1].title == "Some of the learning is memory"
    assert "0 of these" in lost[0].text


def test_cards_link_to_the_comparison_they_speak_of_and_the_page_opens_there(report, analyses):
    text = report.read_text()
    cells = [finding.cell for finding in findings(analyses) if finding.cell is not None]
    assert [int(n) for n in re.findall(r'class="go needs-js" data-cell="(\d+)"', text)] == cells
    assert embedded(text)["start"] == cells[0]


def test_leads_by_family_are_those_of_the_rounds(analyses):
    for analysis in analyses:
        fixed, place = analysis.cell.agents["best_fixed"], np.array(analysis.cell.references["families"]["query"])
        for agent, leads in analysis.by_family().items():
            runs = analysis.cell.agents[agent]
            for family, lead in enumerate(leads):
                mine = place == family
                total = (runs.query_reward - fixed.query_reward)[:, mine].sum(dtype=np.float64)
                assert lead == pytest.approx(total / fixed.query_count[:, mine].sum())


def test_every_table_and_figure_can_be_saved(report):
    text = report.read_text()
    tables = re.findall(r"<table[^>]*>", text)
    assert all("data-file=" in table for table in tables)
    assert {"comparisons", "ranked-0", "families-1"} <= set(re.findall(r'data-file="([^"]+)"', text))
    assert all("data-file=" in figure for figure in re.findall(r"<figure[^>]*>", text))


def test_findings_when_nobody_wins(tiny_cell):
    agents = {name: runs for name, runs in tiny_cell.agents.items() if name not in ("learner",)}
    cell = replace(tiny_cell, agents=agents)
    found = told(analyse([cell]))
    assert found["No learner beat the best fixed arm"].tone == "bad"
    assert "No learner closes any of the gap to the oracle" in found
    assert "1 learner got stuck on a poor arm" in found
    assert "stubborn (100% of seeds)" in found["1 learner got stuck on a poor arm"].text


def test_few_seeds_can_show_nothing(tiny_world, cell_factory):
    found = told(analyse([cell_factory(tiny_world, seeds=4)]))
    assert "With 4 seeds" in found["Too few seeds to tell whether a learner beats the best fixed arm"].text


def test_findings_where_the_context_matters(world_factory, cell_factory):
    base = world_factory(queries=60)
    quality = np.full((60, 5), 0.1, np.float32)
    quality[np.arange(60), np.where(base.contexts["plain"][:, 0] > 0, 1, 3)] = 0.9
    world = world_factory(queries=60, expected=base.expected._replace(quality=quality))
    analysis = analyse([cell_factory(world, reward=Reward())])[0]
    ceiling = analysis.cell.references["ceiling"]
    finding = told([analysis])[f"Context is worth up to {ceiling['value']:+.3f} a round"]
    assert f"{analysis.honesty['learner'].ceiling_share:.0%}" in finding.text


def test_a_page_without_best_fixed_arm_cost_or_intervals(world_factory, cell_factory, tmp_path):
    world = world_factory(without=("dollars", "eflops", "tokens", "latency", "score"))
    cell = cell_factory(world, reward=Reward(), seeds=1, rounds=10)
    cell = replace(cell, agents={name: runs for name, runs in cell.agents.items() if name != "best_fixed"})
    write_report(analyse([cell]), MANIFEST, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "nan" not in re.sub(r"<(script|style).*?</\1>", "", text, flags=re.S).lower().split()
    shown = embedded(text)["cells"][0]
    assert shown["plane"] is None
    assert all(agent["lead"] is None and agent["versus"] is None for agent in shown["agents"])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
@pytest.mark.parametrize("width", [400, 1280])
def test_a_browser_draws_it_and_nothing_overflows(report, tmp_path, width):
    probe = """<script>
    window.addEventListener("error", (e) => { document.title = "error: " + e.message; });
    window.addEventListener("load", () => setTimeout(() => {
      const inner = document.querySelector("iframe").contentWindow;
      const root = inner.document.documentElement;
      root.querySelectorAll("#picker button, #kinds button, #dimensions button, th button").forEach((b) => b.click());
      const wide = [...inner.document.querySelectorAll("svg text")].filter((t) => {
        const b = t.getBoundingClientRect(), s = t.ownerSVGElement.getBoundingClientRect();
        return b.left < s.left - 2 || b.right > s.right + 2;
      }).map((t) => t.textContent);
      document.body.dataset.result = JSON.stringify({
        svg: inner.document.querySelectorAll("svg").length, wide,
        overflow: root.scrollWidth - root.clientWidth,
        rows: inner.document.querySelectorAll("section.chosen table.sortable tbody tr").length,
      });
    }, 800));
    </script>"""
    frame = tmp_path / "frame.html"
    frame.write_text(
        f"<body><iframe src='{report.as_uri()}' width='{width}' height='3000' frameborder='0'></iframe>{probe}"
    )
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += ["--virtual-time-budget=5000", "--dump-dom", f"--user-data-dir={tmp_path / 'profile'}", frame.as_uri()]
    page = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    result = json.loads(unescape(re.search(r'data-result="([^"]*)"', page).group(1)))
    assert result == {"svg": 5, "overflow": 0, "wide": [], "rows": 6}


def test_a_users_own_agent_comes_first_and_is_marked(analyses, tmp_path):
    mine = []
    for analysis in analyses:
        entrants = {name: one._replace(own=name == "slow") for name, one in analysis.cell.entrants.items()}
        mine.append(replace(analysis, cell=replace(analysis.cell, entrants=entrants)))
    first = findings(mine)[0]
    assert first.title.startswith("Your agent slow is number ")
    write_report(mine, MANIFEST, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    heat = re.search(r'<table class="heat".*?</table>', text, re.S).group(0)
    assert re.search(r'<tbody>\s*<tr class="learner own"><td class="name">slow<', heat)
    assert text.count('class="learner own"') == 2 + len(mine)


def test_the_agents_are_described_with_every_setting(analyses, tmp_path):
    known = {"learner": {"summary": "It learns.", "options": {"alpha": 0.3, "ridge": 1.0, "network": None}}}
    write_report(analyses, MANIFEST | {"agents": known}, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    table = re.search(r'<table data-file="agents">.*?</table>', text, re.S).group(0)
    assert "It learns." in table
    assert "alpha = 0.3, ridge = 1, network = none" in table
    rows = {re.search(r'class="name">([^<]*)', row).group(1): row for row in table.split("<tr")[2:]}
    assert "the whole tape or table" in rows["oracle"]
    assert "its own arm's outcome" in rows["learner"]


def test_a_price_stands_beside_its_unit(report):
    assert re.search(r"reward per round.*?weights: quality 1, cost [0-9.e+]+ per US dollar", report.read_text(), re.S)
