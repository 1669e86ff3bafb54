"""The letter of an option, as models name it."""

from __future__ import annotations

import re

from uis_env.live.verifiers.answers import clean, halfwidth, marked, parts
from uis_env.live.verifiers.verifier import Verifier

_DRESS = re.compile(
    r"\\(?:text|textbf|textit|mathrm|mathbf|mathit|mbox|boxed)\s*(?=\{)|\\[()\[\]]|[{}$*_`\"“”„«»]|(?<!\w)['‘]|['’](?!\w)"
)
_OPTION = r"(?:(?:option|choice|answer|letter)\b:? ?)?"
_NAMED = re.compile(
    r"(?<!\w)[(\[] ?(?P<framed>[A-Za-z]) ?[)\]]|\b(?i:option|choice|letter) \(?(?P<called>[A-Za-z])(?![\w'’])"
    r"|(?<![\w'’\-/&])(?<![A-Za-z]\.)(?P<alone>[A-Z])(?![\w'’+#&]|-\w|\.\w)"
)
_BARE = re.compile(rf"[\s#>(\[-]{{0,4}}{_OPTION}[(\[]?(?P<letter>[A-Za-z])[\s)\].:!]{{0,4}}", re.IGNORECASE)
_LABEL = re.compile(
    rf"[ #>-]{{0,4}}{_OPTION}(?:[(\[] ?(?P<framed>[A-Za-z]) ?[)\]]|(?P<open>[A-Za-z]) ?[).:：\]](?!\.|\d|\w\.|\w\b))",
    re.IGNORECASE,
)
_FIRST = re.compile(r" ?(?P<letter>[A-Za-z])(?=,? (?:because|since|as|due|for|is|was|seems)\b|[,;]| ?[–—-] )")
_CHOSEN = re.compile(
    r"\b(?i:choose|chose|select|pick|go with|(?:choice|option) is) (?i:option |choice |answer )?"
    r"[(\[]?(?P<letter>[A-Z])(?![\w'’])"
)
_ARTICLE = re.compile(r" (?!(?:is|was|because|since|as|and|or|seems|would|must|should|looks|fits|works|holds)\b)[a-z]")
_PRONOUN = re.compile(r",? (?!is\b|because\b|since\b)[a-z]")
_REJECTED_AFTER = re.compile(
    r"[)\]]? (?:(?:is|are|was|were|would be|seems|looks) (?:\w{1,20}ly |also |just )?(?:a |an |the )?"
    r"(?:not|wrong|incorrect|false|distractor|trap|impossible|ruled out|eliminated|out)\b"
    r"|(?:is|are|was|does|do|can)n['’]t\b|cannot\b|does not\b|fails?\b)"
)
_REJECTED_BEFORE = re.compile(
    r"(?:\b(?:not|neither|nor|rul(?:es?|ed|ing) out|eliminat(?:e|es|ed|ing)|reject(?:s|ed|ing)?"
    r"|exclud(?:e|es|ed|ing)|unlike|except|instead of|than)|n['’]t)(?: be)?(?: option| choice| letter)? ?[(\[]?$",
    re.IGNORECASE,
)
_SEVERAL = re.compile(
    r"[)\]]?(?: ?,| and| or| ?&| ?/|, (?:and|or)) (?:option |choice )?[(\[]?|[)\]]?[/&,][(\[]?", re.IGNORECASE
)
_SMALL = re.compile(r"(?<![\w'’\-/&.])[b-h](?![\w'’+#&]|-\w|\.\w| ?=)")
_NEVER = re.compile(r"(?!)")
_RIGHT = re.compile(
    rf"\s*[(\[]?{_OPTION}[(\[]?(?P<letter>[A-Za-z])(?:\s?[)\].:](?!\.|\d|\w\.|\w\b).*|\s*)", re.IGNORECASE | re.DOTALL
)


def choice() -> Verifier:
    r"""The letter of the announced option, else of the option echoed at a line's start, else the last one named.

    A letter counts in capitals, in parentheses, after "option", or where it stands alone. The article "A", the pronoun
    "I", letters of words, and options that the text rejects ("not A", "A is wrong") do not count. Two options
    announced together ("A or B", "both A and C") are no answer.

    >>> read = choice().extract
    >>> read("B. A car moves"), read("Answer: I think it is C"), read("The answer is b"), read("Option C: A mammal")
    ('B', 'C', 'B', 'C')
    >>> read("The answer is not A"), read("The answer is B. Note that A is a distractor."), read("Answer: I don't know")
    ('', 'B', '')
    """
    return Verifier(extract, grade)


def extract(text: str) -> str:
    """The capital letter that a text gives as its answer; "" if there is none."""
    for part in parts(clean(text), negations=True):
        plain = _DRESS.sub("", halfwidth(part.text))
        letter = _announced(plain) if part.announced else _told(plain)
        if letter is not None:
            return letter.upper()
    return ""


def grade(answer: str, right: str) -> float:
    """1 if the letters are the same, else 0.

    Raises:
        ValueError: if the right answer is no letter, alone or before the option's text.
    """
    found = _RIGHT.fullmatch(_DRESS.sub("", halfwidth(clean(right))))
    truth = extract(right)
    if not (found["letter"].upper() == truth if found else marked(right)):
        truth = ""
    if not truth:
        raise ValueError(f"the right answer is {right!r}, expected the letter of an option: 'B', '(b)' or 'B. Paris'")
    return float(answer.strip().upper() == truth)


def _announced(text: str) -> str | None:
    """The letter after an announcement; "" where it names several, None where it names none."""
    line = text.strip().partition("\n")[0]
    bare = _BARE.fullmatch(line)
    if bare:
        return str(bare["letter"])
    named = _candidates(text)
    first = _FIRST.match(text) or _LABEL.match(text)
    if first and not _REJECTED_AFTER.match(text, first.end()) and not (named and _tied(text, named)):
        return str(next(filter(None, first.groups())))
    if not named:
        small = set(_SMALL.findall(text[:200].partition("\n")[0]))
        return small.pop() if len(small) == 1 else None
    return "" if _tied(text, named) else named[0][0]


def _told(text: str) -> str | None:
    """The letter of a text that announces none."""
    lines = [line for line in text.splitlines() if line.strip()]
    for line in (*lines[-1:], *lines[:1]):
        bare = _BARE.fullmatch(line)
        if bare:
            return str(bare["letter"])
    chosen = list(_CHOSEN.finditer(text))
    if chosen:
        return str(chosen[-1]["letter"])
    labels = {next(filter(None, label.groups())).upper() for label in map(_LABEL.match, lines) if label}
    if len(labels) == 1:
        return str(labels.pop())
    named = _candidates(text)
    return named[-1][0] if named else None


def _candidates(text: str) -> list[tuple[str, int, int]]:
    """(letter, start, end) of the options that a text names and does not reject."""
    found: list[tuple[str, int, int]] = []
    rejected_next: int | None = None  # where a rejected option begins: those joined to it are rejected with it
    for match in reversed(list(_NAMED.finditer(text))):
        letter = next(filter(None, match.groups()))
        start, end = match.span()
        if match["alone"] and {"A": _ARTICLE, "I": _PRONOUN}.get(letter, _NEVER).match(text, end):
            continue
        joined = rejected_next is not None and _SEVERAL.fullmatch(text, end, rejected_next)
        if joined or _REJECTED_AFTER.match(text, end) or _REJECTED_BEFORE.search(text, max(0, start - 40), start):
            rejected_next = start
            continue
        found.append((letter, start, end))
    return found[::-1]


def _tied(text: str, named: list[tuple[str, int, int]]) -> bool:
    """Whether the first two options are named together, as in "A or B"."""
    if len(named) < 2 or named[0][0].upper() == named[1][0].upper():
        return False
    return bool(_SEVERAL.fullmatch(text, named[0][2], named[1][1]))
