"""`python -m uis_env.live`: estimate, record, build."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from uis_env.live.build import build
from uis_env.live.config import load_config
from uis_env.live.estimate import estimate_arm, estimate_recording
from uis_env.live.recorder import record
from uis_env.lock import BusyError
from uis_env.worlds.comparison import save_comparison


def parser() -> argparse.ArgumentParser:
    """The argument parser."""
    top = argparse.ArgumentParser(
        prog="python -m uis_env.live", description="Record sample pools of real endpoints, and say what it costs."
    )
    commands = top.add_subparsers(dest="command", required=True)
    for name, help_ in (("estimate", "what recording and every arm cost"), ("record", "record sample pools")):
        command = commands.add_parser(name, help=help_)
        command.add_argument("config", type=Path, help="a TOML file, see uis_env/live/config.py")
        command.add_argument("--tokens", type=int, help="tokens of a usual sample (default: the longest allowed)")
        if name == "record":
            command.add_argument("--out", type=Path, required=True, help="folder of the recording")
            command.add_argument("--resume", action="store_true", help="go on with a recording")
            command.add_argument("--max-dollars", type=float, default=math.inf, help="never passed")
            command.add_argument(
                "--accept-journal", action="store_true", help="go on where calls.jsonl was damaged or lost"
            )
            command.add_argument("--dry-run", action="store_true", help="only say what it costs")
    command = commands.add_parser("build", help="make the outcome table of a finished recording")
    command.add_argument("config", type=Path, help="that was recorded")
    command.add_argument("folder", type=Path, help="the recording")
    command.add_argument("--out", type=Path, required=True, help="folder of the world, with a config")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "build":
            return _build(options)
        if options.tokens is not None and options.tokens < 1:
            raise ValueError(f"--tokens {options.tokens}: expected 1 or more")
        return _estimate(options) if options.command == "estimate" or options.dry_run else _record(options)
    except (ValueError, OSError, ImportError, BusyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; go on with --resume", file=sys.stderr)
        return 130


def _estimate(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    rows = [("recording", estimate_recording(config, options.tokens))] if config.record else []
    rows += [(arm.arm.name, estimate_arm(config, arm, options.tokens)) for arm in config.arms]
    print(
        f"{len(config.queries)} queries; USD, retries not counted\n{'':40} {'calls':>8} {'usual':>10} {'at most':>10}"
    )
    for name, cost in rows:
        print(f"{name:40} {cost.calls:8d} {cost.usual:10.4f} {cost.most:10.4f}")
    return 0


def _record(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    report = record(
        config,
        options.out,
        resume=options.resume,
        max_dollars=options.max_dollars,
        accept_journal=options.accept_journal,
    )
    print(f"{report.recorded} (query, model, style) recorded, {report.left} left, ${report.spent:.4f} spent so far")
    if report.holes:
        print(f"{report.holes} samples are holes: build leaves their queries out for that model and style")
    for unit, error in list(report.failed.items())[:5]:
        print(f"failed: {unit}: {error}", file=sys.stderr)
    if report.stopped == "budget":
        print("the dollar limit is reached: raise --max-dollars and --resume", file=sys.stderr)
    for line in report.lines:
        print(line, file=sys.stderr)
    return 1 if report.left or report.overruns else 0


def _build(options: argparse.Namespace) -> int:
    world = build(load_config(options.config), options.folder, options.out.stem)
    command = save_comparison(world, options.out)
    queries, draws, arms = world.channels.quality.shape
    left_out = world.provenance["left_out"]
    for reason, cells in left_out["cells"].items():
        print(f"not recorded: {cells} cells (query, model, style): {reason}", file=sys.stderr)
    for kind in ("arms", "channels"):
        for name, reason in left_out[kind].items():
            print(f"left out: {name}: {reason}", file=sys.stderr)
    print(f"{world.name}: {queries} queries, {draws} draws, {arms} arms; compare agents (in a checkout):\n{command}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
