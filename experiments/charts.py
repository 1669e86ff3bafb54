"""Line charts as inline SVG, in the colours of the report's style sheet; no script, no network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import NamedTuple

from experiments.results import Array

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 12, 44
COLOURS = 10


class Line(NamedTuple):
    """A line of n points, with a band if it has one; NaN points are left out. `joined=False`: dots with whiskers."""

    name: str
    x: Array
    y: Array
    low: Array | None = None
    high: Array | None = None
    joined: bool = True


def chart(
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    *,
    log_x: bool = False,
    marks: Sequence[tuple[float, str]] = (),
    dots: bool = False,
) -> str:
    """An SVG with a legend below it.

    Args:
        lines: at least one point altogether.
        x_label: what the x axis shows.
        y_label: what the y axis shows.
        log_x: logarithmic x axis; x must be positive.
        marks: vertical lines at x, each with a word.
        dots: whether each line ends in a dot.
    """
    xs = [float(x) for line in lines for x in line.x if math.isfinite(x)] + [x for x, _ in marks]
    ys = [float(y) for line in lines for part in (line.y, line.low, line.high) if part is not None for y in part]
    ys = [y for y in ys if math.isfinite(y)]
    if not xs or not ys:
        raise ValueError(f"nothing to draw in the chart of {y_label}")
    low_x, high_x = (math.log(v) if log_x else v for v in (min(xs), max(xs)))
    y_ticks = ticks(min(ys), max(ys))
    low_y, high_y = min(y_ticks[0], *ys), max(y_ticks[-1], *ys)

    def to_x(x: float) -> float:
        place = ((math.log(x) if log_x else x) - low_x) / ((high_x - low_x) or 1.0)
        return LEFT + place * (WIDTH - LEFT - RIGHT)

    def to_y(y: float) -> float:
        return HEIGHT - BOTTOM - (y - low_y) / ((high_y - low_y) or 1.0) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for tick in log_ticks(min(xs), max(xs)) if log_x else ticks(low_x, high_x):
        if low_x - 1e-9 <= (math.log(tick) if log_x else tick) <= high_x + 1e-9:
            parts.append(_rule(to_x(tick), to_x(tick), TOP, HEIGHT - BOTTOM, "grid"))
            parts.append(_text(to_x(tick), HEIGHT - BOTTOM + 15, number(tick), "tick", "middle"))
    for tick in y_ticks:
        parts.append(_rule(LEFT, WIDTH - RIGHT, to_y(tick), to_y(tick), "axis" if tick == 0 else "grid"))
        parts.append(_text(LEFT - 6, to_y(tick) + 4, number(tick), "tick", "end"))
    for x, word in marks:
        rule = f'<line x1="{to_x(x):.1f}" x2="{to_x(x):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"'
        parts.append(f'{rule} class="axis" stroke-dasharray="4 3"/>')
        parts.append(_text(to_x(x) + 3, TOP + 10, word, "note", "start"))
    for i, line in enumerate(lines):
        colour = f"var(--c{i % COLOURS})"
        if not line.joined:
            parts += _dots(line, colour, to_x, to_y)
            continue
        if line.low is not None and line.high is not None:
            edge = [*zip(line.x, line.high, strict=True), *reversed(list(zip(line.x, line.low, strict=True)))]
            points = " ".join(f"{to_x(x):.1f},{to_y(y):.1f}" for x, y in edge if math.isfinite(y))
            parts.append(f'<polygon points="{points}" fill="{colour}" opacity=".15"/>')
        kept = [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(x) and math.isfinite(y)]
        points = " ".join(f"{to_x(x):.1f},{to_y(y):.1f}" for x, y in kept)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        if dots and kept:
            x, y = kept[-1]
            parts.append(f'<circle cx="{to_x(x):.1f}" cy="{to_y(y):.1f}" r="4" fill="{colour}"/>')
    return _framed(parts, x_label, y_label, [line.name for line in lines])


def stacked(x: Array, shares: Sequence[tuple[str, Array]], x_label: str, y_label: str) -> str:
    """Shares of a whole as areas above each other, over a logarithmic x axis.

    Args:
        x: (n,) positive, rising.
        shares: (n,) each, from the bottom up, summing to one.
        x_label: what the x axis shows.
        y_label: what the y axis shows.
    """
    low_x, high_x = math.log(x[0]), math.log(x[-1])

    def to_x(value: float) -> float:
        return LEFT + (math.log(value) - low_x) / ((high_x - low_x) or 1.0) * (WIDTH - LEFT - RIGHT)

    def to_y(value: float) -> float:
        return HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM)

    parts, floor = [], [0.0] * len(x)
    for i, (_, share) in enumerate(shares):
        top = [a + float(b) for a, b in zip(floor, share, strict=True)]
        edge = [*zip(x, top, strict=True), *reversed(list(zip(x, floor, strict=True)))]
        points = " ".join(f"{to_x(a):.1f},{to_y(b):.1f}" for a, b in edge)
        parts.append(f'<polygon points="{points}" fill="{_shade(i, len(shares))}"/>')
        floor = top
    for tick in log_ticks(float(x[0]), float(x[-1])):
        parts.append(_text(to_x(tick), HEIGHT - BOTTOM + 15, number(tick), "tick", "middle"))
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_text(LEFT - 6, to_y(tick) + 4, f"{tick:.0%}", "tick", "end"))
    colours = [_shade(i, len(shares)) for i in range(len(shares))]
    return _framed(parts, x_label, y_label, [name for name, _ in shares], colours)


def bars(groups: Sequence[tuple[str, Sequence[float]]], series: Sequence[str], y_label: str) -> str:
    """Bars side by side in groups, from zero.

    Args:
        groups: label and one value per series; at least one group.
        series: what the bars of a group are.
        y_label: what the y axis shows.
    """
    y_ticks = ticks(0.0, max(value for _, values in groups for value in values))
    slot = (WIDTH - LEFT - RIGHT) / len(groups)
    width = 0.8 * slot / len(series)

    def to_y(value: float) -> float:
        return HEIGHT - BOTTOM - value / y_ticks[-1] * (HEIGHT - TOP - BOTTOM)

    parts = []
    for tick in y_ticks:
        parts.append(_rule(LEFT, WIDTH - RIGHT, to_y(tick), to_y(tick), "axis" if tick == 0 else "grid"))
        parts.append(_text(LEFT - 6, to_y(tick) + 4, number(tick), "tick", "end"))
    for g, (label, values) in enumerate(groups):
        left = LEFT + g * slot
        parts.append(_text(left + slot / 2, HEIGHT - BOTTOM + 15, label, "tick", "middle"))
        for i, value in enumerate(values):
            x, y = left + 0.1 * slot + i * width, to_y(value)
            size = f'width="{width - 1:.1f}" height="{HEIGHT - BOTTOM - y:.1f}"'
            parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" {size} fill="var(--c{i % COLOURS})"/>')
    return _framed(parts, "", y_label, series)


def _framed(
    parts: list[str], x_label: str, y_label: str, names: Sequence[str], colours: Sequence[str] | None = None
) -> str:
    """The SVG of drawn parts with the labels of its axes, and the legend below it."""
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_label, "note", "middle"))
    side = f'transform="rotate(-90 13 {HEIGHT / 2:g})"'
    parts.append(f'<text x="13" y="{HEIGHT / 2:g}" class="note" text-anchor="middle" {side}>{escape(y_label)}</text>')
    colours = colours or [f"var(--c{i % COLOURS})" for i in range(len(names))]
    legend = "".join(
        f'<span><i style="border-color:{colour}"></i>{escape(name)}</span>'
        for name, colour in zip(names, colours, strict=True)
    )
    title = escape(f"{y_label} against {x_label}" if x_label else y_label)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">{"".join(parts)}</svg>\n'
        f'<div class="legend">{legend}</div>'
    )


def _dots(line: Line, colour: str, to_x: Callable[[float], float], to_y: Callable[[float], float]) -> Iterator[str]:
    for i, (x, y) in enumerate(zip(line.x, line.y, strict=True)):
        if line.low is not None and line.high is not None:
            ends = f'y1="{to_y(line.low[i]):.1f}" y2="{to_y(line.high[i]):.1f}"'
            yield f'<line x1="{to_x(x):.1f}" x2="{to_x(x):.1f}" {ends} stroke="{colour}" opacity=".35"/>'
        yield f'<circle cx="{to_x(x):.1f}" cy="{to_y(y):.1f}" r="3.2" fill="{colour}"/>'


def _shade(i: int, count: int) -> str:
    """Colours of an ordered scale, light to dark."""
    return f"var(--s{round(i * 8 / max(count - 1, 1))})"


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most `most` + 1 round numbers that span [low, high]."""
    span = (high - low) or abs(high) or 1.0
    raw = span / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= raw * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten in [low, high]; over more than three decades the powers alone."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    sizes = (1,) if high > 1000 * low else (1, 2, 5)
    inside = (low * (1 - 1e-9), high * (1 + 1e-9))
    return [size * 10.0**power for power in powers for size in sizes if inside[0] <= size * 10.0**power <= inside[1]]


def number(value: float) -> str:
    """A tick: three digits, thousands as k."""
    told = f"{value:.3g}" if abs(value) < 10_000 else f"{value / 1000:g}k"
    return (f"{value:,.0f}" if 1000 <= abs(value) < 10_000 else told).replace("-", "−")


def _rule(x1: float, x2: float, y1: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'
