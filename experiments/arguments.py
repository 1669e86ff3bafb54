"""The arguments of the command line; nothing is imported here that makes --help wait."""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path
from typing import Any

EXAMPLES = """examples:
  python -m experiments run paper_configs/quickstart.toml
  python -m experiments run paper_configs/quickstart.toml --seeds 8 --rounds 500 --out results/short
  python -m experiments run paper_configs/quickstart.toml --agent my_module:make
  python -m experiments run paper_configs/quickstart.toml --world my_world
  python -m experiments run paper_configs/quickstart.toml --cluster local --workers 2
  python -m experiments live paper_configs/live/smollm2.toml --max-dollars 0.10
  python -m experiments paper latency
  python -m experiments paper uniscale --seeds 20 --out results/paper-short
  python -m experiments run paper_configs/quickstart.toml --gym-agent wide=my_module:Agent,width=0.3
  python -m experiments check my_module:make
  python -m experiments list linucb
  python -m experiments workflow --tasks 1000 --agent my_module:make --out results/workflow
  python -m experiments calibration --seeds 2
  python -m experiments report results/quickstart
  python -m experiments compare results/quickstart results/mine --out results/both
  python -m experiments reproduce results/quickstart
  python -m experiments speed --peers --json speed.json
"""


class _Commands:
    """Adds subparsers, each with the options that all have and its example at the foot of its help."""

    def __init__(self, subparsers: Any, shared: argparse.ArgumentParser) -> None:
        self._subparsers, self._shared = subparsers, shared

    def add_parser(self, name: str, help: str, description: str | None = None) -> argparse.ArgumentParser:
        examples = [line for line in EXAMPLES.splitlines() if f"experiments {name}" in line]
        made: argparse.ArgumentParser = self._subparsers.add_parser(
            name,
            help=help,
            description=description or help[0].upper() + help[1:] + ("" if help.endswith("?") else "."),
            parents=[self._shared],
            epilog="\n".join(["example:", *examples]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        return made


def parser() -> argparse.ArgumentParser:
    """The argument parser."""
    top = argparse.ArgumentParser(
        prog="python -m experiments",
        description="Paired multi-seed comparisons of agents for Unified Inference Scaling.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"uis-env {version('uis-env')}")
    top.add_argument("--debug", action="store_true", help="show the traceback of an error")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
    )
    subparsers = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands = _Commands(subparsers, shared)

    run = commands.add_parser("run", help="play a config (resumes what was stopped) and write tables and report")
    run.add_argument("config", type=Path, metavar="CONFIG", help="a TOML file; see paper_configs/")
    run.add_argument("--seeds", type=int, metavar="N", help="number of seeds (default: the config's)")
    run.add_argument("--rounds", type=int, metavar="T", help="rounds per seed (default: the config's)")
    run.add_argument("--out", type=Path, metavar="DIR", help="run directory (default: results/<name of the config>)")
    run.add_argument(
        "--agent",
        action="append",
        default=[],
        metavar="[NAME=]KIND[,OPTION=VALUE...]",
        help="add an agent: your MODULE:FACTORY, factory(spec, **options) -> Agent, or one of `list`; repeatable",
    )
    run.add_argument(
        "--gym-agent",
        action="append",
        default=[],
        metavar="[NAME=]MODULE:MAKE[,OPTION=VALUE...]",
        help="add an agent of any library: make(env, **options) -> object with act and learn; repeatable",
    )
    run.add_argument(
        "--world",
        action="append",
        default=[],
        metavar="WORLD",
        help="play this world, not the config's: a name, a folder or MODULE:FUNCTION; may be given several times",
    )
    run.add_argument("--workers", type=int, metavar="N", help="threads that play work units (default: one per core)")
    run.add_argument("--cluster", metavar="ADDRESS", help="play on Ray: HOST:PORT, auto, or local (starts one)")
    run.add_argument(
        "--gpus-per-task", type=float, default=0.0, metavar="X", help="with --cluster; fractions share one"
    )
    run.add_argument(
        "--distributed",
        metavar="HOST:PORT,I/N",
        help="play a share as process I of N of a multi-host JAX job (auto: ask Slurm, Open MPI or the TPU pod)",
    )
    run.add_argument(
        "--wait",
        type=float,
        default=3600.0,
        metavar="SECONDS",
        help="with --distributed: how long to wait without news for the units of other processes (default: 3600)",
    )

    paper = commands.add_parser("paper", help="play the protocols of papers and report published numbers beside ours")
    paper.add_argument("protocols", nargs="*", metavar="PROTOCOL", help="uniscale, latency (default: all)")
    paper.add_argument("--out", type=Path, default=Path("results/paper"), metavar="DIR", help="default: results/paper")
    paper.add_argument("--seeds", type=int, metavar="N", help="number of seeds (default: each config's)")
    paper.add_argument("--only", nargs="+", default=[], metavar="NAME", help="some of its configs, by name")
    paper.add_argument("--workers", type=int, metavar="N", help="threads that play work units (default: one per core)")

    workflow = commands.add_parser("workflow", help="does seeing what is left of a task pay? plan, learned, step-blind")
    workflow.add_argument(
        "--out", type=Path, default=Path("results/workflow"), metavar="DIR", help="default: results/workflow"
    )
    workflow.add_argument(
        "--tasks", type=int, default=6000, metavar="N", help="test tasks per instance (default: 6000)"
    )
    workflow.add_argument(
        "--agent",
        action="append",
        default=[],
        metavar="[NAME=]KIND[,OPTION=VALUE...]",
        help="add a bandit that sees nothing of what is left: one of `list`, or your MODULE:FACTORY; repeatable",
    )
    workflow.add_argument("--keys", type=int, default=3, metavar="N", help="training runs per instance (default: 3)")

    calibration = commands.add_parser("calibration", help="is the accuracy probe calibrated on held-out queries?")
    calibration.add_argument(
        "--out", type=Path, default=Path("results/calibration"), metavar="DIR", help="default: results/calibration"
    )
    calibration.add_argument("--seeds", type=int, default=5, metavar="N", help="per data set (default: 5)")

    check = commands.add_parser("check", help="does an agent of yours keep the contract? tries it on made-up worlds")
    check.add_argument("agent", metavar="MODULE:FACTORY[,OPTION=VALUE...]", help="factory(spec, **options) -> Agent")

    listed = commands.add_parser("list", help="agents, worlds, scenarios and configs; or all about one of them")
    listed.add_argument("name", nargs="?", metavar="NAME", help="an agent, a world or a scenario: its parameters")
    listed.add_argument("--json", action="store_true", help="print JSON")

    live = commands.add_parser("live", help="let an agent learn on real endpoints (resumes what was stopped)")
    live.add_argument("config", type=Path, metavar="CONFIG", help="a live config; see paper_configs/live/")
    live.add_argument("--out", type=Path, metavar="DIR", help="run directory (default: results/live-<config>)")
    live.add_argument(
        "--max-dollars", type=float, default=float("inf"), metavar="X", help="never passed, earlier parts included"
    )

    live.add_argument("--accept-journal", action="store_true", help="go on where calls.jsonl was damaged or lost")

    report = commands.add_parser("report", help="rebuild tables and report from stored results")
    report.add_argument("dir", type=Path, metavar="DIR", help="a run directory")

    compare = commands.add_parser("compare", help="one report over runs that played the same episodes")
    compare.add_argument("dirs", type=Path, nargs="+", metavar="DIR", help="run directories, two or more")
    compare.add_argument("--out", type=Path, required=True, metavar="DIR", help="where tables and report go")

    reproduce = commands.add_parser(
        "reproduce",
        help="play a run again from its manifest: the same numbers?",
        description="Status 0: byte by byte, or within rounding where versions differ; 1: other numbers.",
    )
    reproduce.add_argument("dir", type=Path, metavar="DIR", help="a run directory; it is only read")
    reproduce.add_argument("--trust", action="store_true", help="run the modules that the manifest names")
    reproduce.add_argument(
        "--workers", type=int, metavar="N", help="threads that play work units (default: one per core)"
    )

    speed = commands.add_parser("speed", help="rounds per second beside what people would use instead")
    speed.add_argument("--peers", action="store_true", help="also time other libraries, where installed ([peers])")
    speed.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there as well")
    speed.add_argument("--rounds", type=int, default=2000, metavar="T", help="per seed (default: 2000)")
    speed.add_argument("--seeds", type=int, default=32, metavar="N", help="default: 32")
    speed.add_argument("--arms", type=int, default=60, metavar="K", help="a multiple of 12 (default: 60)")
    speed.add_argument("--dim", type=int, default=32, metavar="D", help="features of a query (default: 32)")
    speed.add_argument(
        "--long", action="store_true", help="instead: memory and float32 errors after a million rounds (minutes)"
    )
    speed.add_argument(
        "--tables", action="store_true", help="instead: seconds from played rounds to tables and report, 5,000 queries"
    )
    speed.add_argument("--repeats", type=int, default=5, metavar="N", help="timed runs of each (default: 5)")
    return top
