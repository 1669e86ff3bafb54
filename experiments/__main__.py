"""The command line: `python -m experiments COMMAND`."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from experiments.arguments import parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status: 0 done, 1 failed, 2 cannot be done as asked, 130 interrupted."""
    args = parser().parse_args(arguments)
    if args.command == "speed":  # read when NumPy loads; matrices of 32 x 32 gain nothing by threads
        os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    from experiments import catalog, commands
    from experiments.config import ConfigError
    from experiments.interrupts import remembered
    from experiments.store import RunError
    from uis_env.files import WriteError
    from uis_env.lock import BusyError

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
                from experiments.entrants import parse_entries

                return workflows.command(args.out, args.tasks, args.keys, agents=parse_entries(args.agent))
            case "calibration":
                from experiments import calibration

                return calibration.command(args.out, args.seeds)
            case "compare":
                return commands.compare(args.dirs, args.out)
            case "reproduce":
                with remembered():
                    return commands.reproduce(args.dir, args.trust, args.workers)
            case "list":
                return catalog.show(args.name, args.json)
            case "check":
                return commands.check(args.agent)
            case "speed":
                from experiments.speed import long, post, table

                if args.tables:
                    return post.command(path=args.json)
                if args.long:
                    return long.command(long.LONG, args.json)
                sizes = (args.rounds, args.seeds, args.arms, args.dim, args.repeats)
                return table.command(*sizes, args.peers, args.json)
            case _:
                return commands.report(args.dir)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ConfigError, RunError, WriteError, BusyError, OSError, MemoryError) as error:  # what is whole is kept
        if args.debug:
            traceback.print_exc()
        what = "not enough memory: " if isinstance(error, MemoryError) else ""
        print(f"error: {what}{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # while something starts; what plays has its own word about what is kept
        print("stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
