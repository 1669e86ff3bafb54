"""Pieces of self-contained HTML pages: the document, tables, cells with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

STYLE = Path(__file__).parent / "report" / "style.css"


class Figure(NamedTuple):
    """A chart with its title and what it shows."""

    title: str
    svg: str
    caption: str


def document(title: str, over: str, heading: str, lead: str, body: str) -> str:
    """A whole page in the style of the reports.

    Args:
        title: of the window.
        over: a line above the heading.
        heading: in words.
        lead: HTML below the heading.
        body: HTML of the rest.
    """
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{STYLE.read_text(encoding="utf-8")}td.text {{ text-align: left; white-space: normal; min-width: 180px; }}
.scroll + h3, .figures + h3 {{ margin-top: 26px; }}
@media (max-width: 620px) {{ td.text {{ min-width: 110px; }} th {{ overflow-wrap: normal; }} }}
</style>
</head>
<body>
<div class="page">
<header>
<div class="over">{escape(over)}</div>
<h1>{escape(heading)}</h1>
{lead}
</header>
{body}
</div>
</body>
</html>
"""


def cards(items: Iterable[tuple[str, str, str]]) -> str:
    """Boxes of (title, text, tone): "good", "bad" or "plain"."""
    return "".join(
        f'<article class="card {tone}"><h3>{escape(title)}</h3><p>{escape(text)}</p></article>\n'
        for title, text, tone in items
    )


def table(head: str, rows: Sequence[str]) -> str:
    """A table that scrolls sideways by itself where it is wider than the page."""
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'


def figures(drawn: Iterable[Figure]) -> str:
    """Charts side by side, below each other on a small screen."""
    return '<div class="figures">' + "".join(
        f"<figure><h3>{escape(title)}</h3>{svg}<figcaption>{escape(caption)}</figcaption></figure>"
        for title, svg, caption in drawn
    ) + "</div>"  # fmt: skip


def name(text: str) -> str:
    """The cell that names a row."""
    return f'<td class="name">{escape(text)}</td>'


def interval(value: float, low: float, high: float, write: Callable[[float], str] | None = None) -> str:
    """A value with its interval; nothing for NaN."""
    if math.isnan(value):
        return ""
    write = write or signed
    spread = "" if math.isnan(low) else f" <small>[{write(low)}, {write(high)}]</small>"
    return f"{write(value)}{spread}"


def signed(value: float, digits: int = 4) -> str:
    """A number with its sign."""
    return f"{value:+.{digits}f}".replace("-", "−")


def plain(value: float, digits: int = 4) -> str:
    """A number; nothing for NaN."""
    return "" if math.isnan(value) else f"{value:,.{digits}f}".replace("-", "−")
