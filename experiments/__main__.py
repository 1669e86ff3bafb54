"""The command line: `python -m experiments COMMAND`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

EXAMPLES = """examples:
  python -m experiments run paper_configs/quickstart.toml
  python -m experiments run paper_configs/quickstart.toml --seeds 8 --rounds 500 --out results/short
  python -m experiments run paper_configs/quickstart.toml --agent my_module:make
  python -m experiments run paper_configs/quickstart.toml --world my_world
  python -m experiments run paper_configs/quickstart.toml --cluster local --workers 2
  python -m experiments live paper_configs/live/smollm2.toml --max-dollars 0.10
  python -m experiments paper latency
  python -m experiments paper uniscale --seeds 20 --out results/paper-short
  python -m experiments list
  python -m experiments report results/quickstart
  python -m experiments compare results/quickstart results/mine --out results/both
  python -m experiments reproduce results/quickstart
  python -m experiments speed --peers --json speed.json
"""


def parser() -> argparse.ArgumentParser:
    """The argument parser."""
    top = argparse.ArgumentParser(
        prog="python -m experiments",
        description="Paired multi-seed comparisons of agents for Unified Inference Scaling.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="play a config (resumes what was stopped) and write tables and report")
    run.add_argument("config", type=Path, metavar="CONFIG", help="a TOML file; see paper_configs/")
    run.add_argument("--seeds", type=int, metavar="N", help="number of seeds (default: the config's)")
    run.add_argument("--rounds", type=int, metavar="T", help="rounds per seed (default: the config's)")
    run.add_argument("--out", type=Path, metavar="DIR", help="run directory (default: results/<name of the config>)")
    run.add_argument(
        "--agent",
        action="append",
        default=[],
        metavar="MODULE:FACTORY",
        help="add your own agent: factory(spec) -> Agent, importable from here; may be given several times",
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
    workflow.add_argument("--out", type=Path, default=Path("results/workflow"), metavar="DIR")
    workflow.add_argument(
        "--tasks", type=int, default=6000, metavar="N", help="test tasks per instance (default: 6000)"
    )
    workflow.add_argument("--keys", type=int, default=3, metavar="N", help="training runs per instance (default: 3)")

    calibration = commands.add_parser("calibration", help="is the accuracy probe calibrated on held-out queries?")
    calibration.add_argument("--out", type=Path, default=Path("results/calibration"), metavar="DIR")
    calibration.add_argument("--seeds", type=int, default=5, metavar="N", help="per data set (default: 5)")

    commands.add_parser("list", help="agents, worlds, scenarios and configs, each with a line")

    live = commands.add_parser("live", help="let an agent learn on real endpoints (goes on with what was stopped)")
    live.add_argument("config", type=Path, metavar="CONFIG", help="a live config; see paper_configs/live/")
    live.add_argument("--out", type=Path, metavar="DIR", help="run directory (default: results/live-<config>)")
    live.add_argument(
        "--max-dollars", type=float, default=float("inf"), metavar="X", help="never passed, earlier parts included"
    )
    live.add_argument("--accept-journal", action="store_true", help="go on where calls.jsonl was damaged or lost")

    report = commands.add_parser("report", help="rebuild tables and report from stored results")
    report.add_argument("dir", type=Path, metavar="DIR", help="a run directory")

    compare = commands.add_parser(
        "compare",
        help="one report over runs that played the same episodes",
        epilog="example:\n  python -m experiments compare results/quickstart results/mine --out results/both",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    compare.add_argument("dirs", type=Path, nargs="+", metavar="DIR", help="run directories, two or more")
    compare.add_argument("--out", type=Path, required=True, metavar="DIR", help="where tables and report go")

    reproduce = commands.add_parser(
        "reproduce",
        help="play a run again from its manifest: the same numbers?",
        description="Status 0: byte by byte, or within rounding where versions differ; 1: other numbers.",
        epilog="example:\n  python -m experiments reproduce results/quickstart",
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
    speed.add_argument("--repeats", type=int, default=5, metavar="N", help="timed runs of each (default: 5)")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status: 0 done, 2 cannot be done as asked, 130 interrupted."""
    args = parser().parse_args(arguments)
    if args.command == "speed":  # read when NumPy loads; matrices of 32 x 32 gain nothing by threads
        os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    from experiments import commands
    from experiments.config import ConfigError
    from experiments.interrupts import remembered
    from experiments.store import RunError
    from uis_env.lock import BusyError
    from uis_env.outcomes import WriteError

    try:
        if (workers := getattr(args, "workers", None)) is not None and workers < 1:
            raise ConfigError(f"--workers {workers}: expected 1 or more")
        match args.command:
            case "run":
                with remembered():
                    return commands.run(args)
            case "live":
                from experiments import live

                return live.command(args.config, args.out, args.max_dollars, args.accept_journal)
            case "paper":
                from experiments import paper

                with remembered():
                    return paper.command(args.protocols, args.out, args.seeds, args.workers, args.only)
            case "workflow":
                from experiments import workflows

                return workflows.command(args.out, args.tasks, args.keys)
            case "calibration":
                from experiments import calibration

                return calibration.command(args.out, args.seeds)
            case "compare":
                return commands.compare(args.dirs, args.out)
            case "reproduce":
                with remembered():
                    return commands.reproduce(args.dir, args.trust, args.workers)
            case "list":
                return commands.show_list()
            case "speed":
                from experiments.speed import long, table

                if args.long:
                    return long.command(long.LONG, args.json)
                sizes = (args.rounds, args.seeds, args.arms, args.dim, args.repeats)
                return table.command(*sizes, args.peers, args.json)
            case _:
                return commands.report(args.dir)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ConfigError, RunError, WriteError, BusyError) as error:  # after a full disk, say, what is whole is kept
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # while something starts; what plays has its own word about what is kept
        print("stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
