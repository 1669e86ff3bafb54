"""Pictures of an episode, drawn with NumPy only: a line of text, or bars of the arms' expected rewards."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uis_env.streams import Streams

Array = NDArray[Any]
MODES = ("ansi", "rgb_array")
FPS = 8
HEIGHT, WIDTH = 272, 480  # multiples of 16, as video encoders want them
PAPER, INK, BAR, AWAY, CHOSEN = (
    np.array(colour, np.uint8)
    for colour in ((250, 249, 246), (40, 40, 48), (150, 170, 196), (222, 222, 218), (208, 84, 52))
)
GLYPHS = dict(
    zip(
        "0123456789.-/ ADELMNORTUW",
        (
            *("757577", "262227", "717477", "717117", "557111", "747117", "747577", "711111", "757577", "757117"),
            *("000002", "000700", "112244", "000000"),
            *("257555", "655556", "746447", "444447", "577555", "655555", "755557", "657655", "722222", "555557"),
            "555775",
        ),
        strict=True,
    )
)
"""Six rows of three pixels per character, each row an octal digit."""


class Frame(NamedTuple):
    """What is shown of an episode: the round played last, or the first one before it is played.

    Attributes:
        cell, query: of that round.
        arm: played in it; -1 before anything was.
        reward: of that round.
        total: reward so far.
        round: rounds so far.
    """

    cell: int
    query: int
    arm: int = -1
    reward: float = 0.0
    total: float = 0.0
    round: int = 0

    def after(self, cell: int, query: int, arm: int, reward: float) -> Frame:
        """The frame of the next round."""
        return Frame(cell, query, arm, reward, self.total + reward, self.round + 1)


def render(mode: str, played: Streams, frame: Frame) -> Any:
    """A line of text for "ansi", a (HEIGHT, WIDTH, 3) uint8 picture for "rgb_array"."""
    return line(played, frame) if mode == "ansi" else picture(played, frame)


def line(played: Streams, frame: Frame) -> str:
    """For example `round 3/200  gcd/v60/39  qwen2.5-coder-0.5b/majority-direct@8  reward 0.412  total 1.207`."""
    query = played.world.query_ids[frame.query]
    what = "nothing played yet" if frame.arm < 0 else f"{played.names[frame.arm]}  reward {frame.reward:.3f}"
    return f"round {frame.round}/{played.horizon}  {query}  {what}  total {frame.total:.3f}"


def picture(played: Streams, frame: Frame) -> Array:
    """Bars of all arms' expected rewards for the round's query, the arm played in colour, those not on offer pale."""
    image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    image[:] = PAPER
    _write(image, 12, 12, f"ROUND {frame.round}/{played.horizon}")
    _write(image, 12, 252, f"TOTAL {frame.total:.3f}")
    if frame.arm >= 0:
        _write(image, 34, 12, f"ARM {frame.arm}", CHOSEN)
        _write(image, 34, 252, f"REWARD {frame.reward:.3f}", CHOSEN)
    values, offered = played.expected[frame.cell].astype(np.float64), played.masks[frame.cell] > 0
    low, high = min(0.0, values[offered].min()), max(0.0, values[offered].max())
    top, bottom, left, right = 64, HEIGHT - 12, 12, WIDTH - 12
    rows = np.rint(bottom - (values - low) / max(high - low, 1e-9) * (bottom - top)).astype(int)
    zero = int(np.rint(bottom + low / max(high - low, 1e-9) * (bottom - top)))
    edges = np.linspace(left, right, played.arms + 1).astype(int)
    for arm in [*range(played.arms), *([frame.arm] if frame.arm >= 0 else [])]:
        start, stop = edges[arm], max(edges[arm + 1] - (edges[arm + 1] - edges[arm] > 2), edges[arm] + 1)
        colour = CHOSEN if arm == frame.arm else BAR if offered[arm] else AWAY
        high_row, low_row = sorted((zero, int(rows[arm]))) if offered[arm] else (zero - 3, zero)
        image[max(high_row, top) : max(low_row, high_row + 2), start:stop] = colour
    image[zero : zero + 1, left:right] = INK
    return image


def _write(image: Array, top: int, left: int, text: str, colour: Array = INK, scale: int = 2) -> None:
    """Writes text from a corner on, as far as the picture reaches."""
    bits = [[[int(row) >> 2 & 1, int(row) >> 1 & 1, int(row) & 1, 0] for row in GLYPHS[c]] for c in text]
    pixels = np.kron(np.concatenate([np.array(c) for c in bits], axis=1), np.ones((scale, scale), int)) > 0
    area = image[top : top + pixels.shape[0], left : left + pixels.shape[1]]
    area[pixels[: area.shape[0], : area.shape[1]]] = colour
