"""What a paper's protocol is: its configs, its claims, and its own files and page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.config import Config
from experiments.paper.claims import Claim, Finding, Section


class Protocol(NamedTuple):
    """A paper's protocol, played by one engine (`experiments.paper.command`).

    Attributes:
        name: of its folder, and on the command line.
        title: of its report.
        told: a sentence for the index.
        configs: names of its configs, in the order of the report.
        claims: the file of its claims; `claim` is what one of them is.
        find: (section, claim, world, cells of the section's config) -> what we measured.
        files: (findings, cells, configs, skipped, all by name of the config) -> file name -> text, the report among
            them as "report.html".
    """

    name: str
    title: str
    told: str
    configs: tuple[str, ...]
    claims: Path
    claim: type[Claim]
    find: Callable[[Section[Any], Any, str, Any], Finding[Any]]
    files: Callable[
        [Sequence[Finding[Any]], Mapping[str, Any], Mapping[str, Config], Mapping[str, str]], Mapping[str, str]
    ]
