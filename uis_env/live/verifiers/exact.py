"""Texts compared by a key: what is left when marks, case, blanks and ways of typing are set aside."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from uis_env.live.verifiers.answers import INVISIBLE, clean, parts
from uis_env.live.verifiers.verifier import Verifier

_MARKS = "*`_\"'“”„‟«»‹›‘’‚「」『』$ "
_QUOTES = str.maketrans("“”„‟«»‘’‚‛′", '""""""\'\'\'\'\'')
_DASH = re.compile("[−–—‐‑‒﹣－]")
_WRAPPED = re.compile(r"\\(?:text|textbf|textit|textrm|texttt|mathrm|mathbf|mathit|mbox|emph|boxed)\s*\{([^{}]*)\}")
_DELIMITER = re.compile(r"\\[()\[\]]")
_HEADING = re.compile(r"^(?:#{1,6}|>) ")
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?")


def exact(lines: int = 1) -> Verifier:
    r"""The announced line, else the last line, compared without regard to ways of typing it.

    Not compared are case, blanks, quotation marks, emphasis, a final stop, forms of dashes, composed or combined
    accents, the commas of thousands. Answers equal in this sense vote as one. An empty answer is never right.

    Args:
        lines: how many lines an answer has.

    >>> verifier = exact()
    >>> verifier.extract("Answer: “Paris”!"), verifier.extract(r"So \boxed{\text{Paris}}.")
    ('Paris', 'Paris')
    >>> verifier.grade("PARIS", "Paris"), verifier.grade("1,000", "1000"), verifier.grade("Rome", "Paris")
    (1.0, 1.0, 0.0)
    >>> verifier.group(["Paris", "paris", "Rome"])
    ['paris', 'paris', 'rome']
    """

    def extract(text: str) -> str:
        for part in parts(clean(text)):
            found = [line for line in map(tidy, part.text.splitlines()) if line]
            if found:
                return "\n".join(found[:lines] if part.announced else found[-lines:])
        return ""

    def grade(answer: str, right: str) -> float:
        return same(answer, extract(right))

    return Verifier(extract, grade, keys)


def same(answer: str, right: str) -> float:
    """1 if both have the same key, else 0.

    Raises:
        ValueError: if the right answer is empty.
    """
    truth = key(right)
    if not truth:
        raise ValueError(f"the right answer is {right!r}, expected a text that is not empty")
    return float(key(answer) == truth)


def keys(answers: Sequence[str]) -> list[str]:
    """The key of each answer."""
    return [key(answer) for answer in answers]


def key(answer: str) -> str:
    """What is compared and counted: case, dashes, quotation marks and the commas of thousands set aside."""
    text = "\n".join(tidy(line) for line in INVISIBLE.sub("", answer).splitlines())
    text = _DASH.sub("-", unicodedata.normalize("NFC", text).translate(_QUOTES))
    text = unicodedata.normalize("NFC", text.casefold()).strip()
    return text.replace(",", "") if _THOUSANDS.fullmatch(text) else text


def tidy(line: str) -> str:
    """A line without surrounding blanks, quotation marks, emphasis, LaTeX text commands and a final stop.

    What holds nothing else is kept, as an operator or a mark may be the answer.
    """
    line = " ".join(line.split())
    bare = _DELIMITER.sub(" ", _HEADING.sub("", line))
    for _ in range(3):
        bare = _WRAPPED.sub(r"\1", bare)
    bare = " ".join(bare.split()).strip(_MARKS)
    for _ in range(2):
        shorter = bare[:-1].rstrip(_MARKS)
        if bare.endswith((".", "。", "｡")) or (bare.endswith(("!", "！")) and shorter[-1:].isalpha()):
            bare = shorter
    return bare or (line.strip() if len(line) == 1 and not line.isspace() and line not in "\"'`" else "")
