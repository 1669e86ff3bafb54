"""`report.html`: a whole run on one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.analysis import Analysis
from experiments.report.page import page
from uis_env.files import atomic_write


def write_report(analyses: Sequence[Analysis], manifest: Mapping[str, Any], path: Path) -> None:
    """Writes the report atomically; it needs no network, and the same inputs give the same bytes.

    Args:
        analyses: what `analyse` made of the cells, at least one.
        manifest: of the run: its "config" (with a "name"), and any other facts to show.
        path: of the HTML file.
    """
    atomic_write(path, page(analyses, manifest).encode())
