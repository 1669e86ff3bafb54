"""Numbers as models write them, read exactly: thousands, decimals, fractions, powers of ten, LaTeX, signs, results."""

from __future__ import annotations

import bisect
import itertools
import re
import unicodedata
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from uis_env.live.verifiers.answers import clean, halfwidth, parts
from uis_env.live.verifiers.verifier import Verifier

DIGITS = 2_000
"""A number with more digits than this is no answer: reading it would take long, and nobody asks for it."""

_CANONICAL = re.compile(r"-?[0-9]{1,4000}(?:/0*[1-9][0-9]{0,3999})?")
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_RAISED = re.compile("[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_VULGAR = re.compile(r"[\u00bc-\u00be\u2150-\u215e\u2189]")
_REWRITTEN = tuple(
    (re.compile(pattern), to)
    for pattern, to in (
        (r"\\!|\\(?:left|right|displaystyle)(?![a-zA-Z])", ""),
        (r"\\[,;: ]|\\q?quad(?![a-zA-Z])", " "),
        (r"\{,\}", ","),
        (r"\\([$%#&_])", r"\1"),
        (r"\\(?:text|textbf|textit|mathrm|mathbf|mathit|mbox|operatorname)\s*\{([^{}]*)\}", r" \1 "),
        (r"\^\s*\{?\s*\\?circ\}?", "°"),
        (r"\\(?:cdot|times)(?![a-zA-Z])", "×"),
        (r"\\div(?![a-zA-Z])", "/"),
        (r"\\(?:approx|simeq|equiv)(?![a-zA-Z])", "≈"),
        (r"\\pi(?![a-zA-Z])", "π"),
        (r"\\sqrt(?![a-zA-Z])", "√"),
        (r"\\[dtc]?frac\s*(\d)\s*(\d)(?!\d)", r" \1/\2 "),
        (r"(?<=\d)\s*\\[dtc]?frac\s*\{\s*([^{}]*)\}\s*\{\s*([^{}]*)\}", r" \1/\2"),
        (r"\\[dtc]?frac\s*\{\s*([^{}]*)\}\s*\{\s*([^{}]*)\}", r"\1/\2"),
        (r"[−–—‐‑‒﹣－]", "-"),
        (r"[∕⁄÷]", "/"),
        (r"\{\s*([-+]?[\d.,]+)\s*\}", r"\1"),
        (r"(?<![\d/])(\d{1,4})/(\d{1,2})/(\d{1,4})(?![\d/])", r"\1-\2-\3"),  # a date
    )
)

_BLOB = r"[0-9]+(?:[.,'’][0-9]+| [0-9]{3}(?![0-9]|\s?/\s?[0-9]))*"
_NUMBER = re.compile(
    rf"(?P<number>{_BLOB}|\.[0-9]+)"
    r"(?:(?P<percent>%)|"
    r" ?[×xX*·⋅] ?10 ?(?:\^|\*\*) ?[{(]?(?P<ten>[-+]?[0-9]{1,9})[)}]?|"
    r"[eE](?P<e>[-+]?[0-9]{1,9})(?![0-9A-Za-z])|"
    r" ?(?:\^|\*\*(?=[-+0-9({])) ?[{(]?(?P<power>[-+]?[0-9]{1,9})[)}]?|"
    r"(?: | and | & )(?P<part>[0-9]{1,9})\s?/\s?(?P<whole>0*[1-9][0-9]{0,8})(?![0-9/]|[.,][0-9])|"
    rf"\s?/\s?(?P<sign>[-+]?)(?!0+(?:\.0*)?(?![0-9.]))(?P<denominator>{_BLOB}|\.[0-9]+)(?![0-9/]))?"
)
_LEAD = re.compile(
    r"(?P<sign>[-+]|\b(?:minus|negative)(?= ))?(?P<gap> ?)"
    r"(?:(?:USD|EUR|GBP|US|CA|AU|[CA])?\\?[$€£¥₹₩₽] ?|(?:USD|EUR|GBP|Rs\.?) ?)?"
    r"(?P<inner>[-+](?=\(?$))?\(?$"
)
_INTRODUCES = re.compile(
    r"(?:^|[^\w\s)\]%°}'\"’”]|\b(?:is|was|be|are|were|to|of|by|at|about|approximately|exactly|equals?|gives?|gets?"
    r"|becomes|or|and|than|from))$",
    re.IGNORECASE,
)
_STARTS_A_SIGN = re.compile(r"(?:^|[^\w)\]%°}'\"’”-])$")
_IRRATIONAL_AFTER = re.compile(r" ?[*·×]? ?(?:π|√|pi\b|sqrt\b)")
_IRRATIONAL_BEFORE = re.compile(r"(?:π|√|\bpi|sqrt)[({]? ?[/*·×]? ?\(?$")
_REASON = re.compile(r"\b(?:because|since|due to|given that|where|as (?:we|the|it|there|she|he|they))\b", re.IGNORECASE)
_BETWEEN = r"[^0-9.;:?!\n,=≈]{0,40}"
_OPERATES = re.compile(
    rf"{_BETWEEN}(?:[-+*/×·^]|\b(?:plus|minus|times|over|of|x|divided by|multiplied by)\b){_BETWEEN}"
)
_RESULTS = re.compile(
    rf"{_BETWEEN}(?:=|≈|→|⇒|,? which \w{{2,6}}\b|\b(?:equals|is|makes|gives)\b)[^0-9.;:?!\n,]{{0,40}}", re.IGNORECASE
)


class Found(NamedTuple):
    """A number in a text.

    Attributes:
        value: None where it is not a rational number of at most DIGITS digits.
        start, end: where it stands, sign and currency included.
        glued: whether a letter stands right before it, as in H2O.
    """

    value: Fraction | None
    start: int
    end: int
    glued: bool


def numeric(tolerance: float = 0.0) -> Verifier:
    r"""The announced number (of announced arithmetic the result), else the last number, compared exactly.

    Read are signs of every form, thousands and decimals of English, LaTeX and other locales, fractions, mixed numbers
    and powers of ten; a dash after a digit or a letter is a hyphen. Units, currency and the percent sign are not part
    of the number: "20%" is 20, never 0.2. Number words, multiples of π and roots are not read (kind "math" does).

    Args:
        tolerance: relative to the right answer, absolute below one.

    >>> read = numeric().extract
    >>> read(r"So \boxed{\frac{1}{2}}"), read("Answer: 5 + 3 = 8"), read("The change is -€12"), read("1.5e3")
    ('1/2', '8', '-12', '1500')
    >>> read("The score was 10-7"), read("3 1/2"), read("10,\\!080"), read("1.000,50"), read("20%")
    ('7', '7/2', '10080', '2001/2', '20')
    """
    slack = Fraction(tolerance)

    def grade(answer: str, right: str) -> float:
        truth = _value(extract(right))
        if truth is None:
            raise ValueError(f"the right answer {right!r} holds no number, expected one of at most {DIGITS:,} digits")
        given = _value(answer)
        return 0.0 if given is None else float(_agree(given, truth, slack))

    return Verifier(extract, grade, lambda answers: group(answers, slack))


def extract(text: str) -> str:
    """The number that a text gives as its answer, in lowest terms, e.g. "-7/2"; "" if there is none."""
    for part in parts(clean(text), negations=True):
        plain = _plain(part.text)
        if part.announced:
            reason = _REASON.search(plain)
            plain = plain[: reason.start()] if reason else plain
        found = _find(plain)
        if found:
            chosen = _result(plain, found) if part.announced else found[-1]
            return "" if chosen.value is None else str(chosen.value)
    return ""


def group(answers: Sequence[str], slack: Fraction) -> list[str]:
    """The votes of answers: those within the tolerance of one answer vote for it together.

    The answer that most others agree with (of equals, the smallest) takes them; then the next among those left.
    """
    if not slack:
        return list(answers)
    values = [_value(answer) for answer in answers]
    count: dict[Fraction, int] = {}
    for value in values:
        if value is not None:
            count[value] = count.get(value, 0) + 1
    vote: dict[Fraction, str] = {}
    left = sorted(count)
    while left:
        sums = list(itertools.accumulate((count[value] for value in left), initial=0))
        reach = [slack * max(Fraction(1), abs(value)) for value in left]
        windows = [
            (bisect.bisect_left(left, value - far), bisect.bisect_right(left, value + far))
            for value, far in zip(left, reach, strict=True)
        ]
        centre = max(range(len(left)), key=lambda i: (sums[windows[i][1]] - sums[windows[i][0]], -i))
        first, last = windows[centre]
        vote |= dict.fromkeys(left[first:last], str(left[centre]))
        left = left[:first] + left[last:]
    return ["" if value is None else vote[value] for value in values]


def _agree(one: Fraction, other: Fraction, slack: Fraction) -> bool:
    return abs(one - other) <= slack * max(Fraction(1), abs(other))


def _value(answer: str) -> Fraction | None:
    """An extracted answer as a number."""
    if not _CANONICAL.fullmatch(answer):
        answer = extract(answer)
    return Fraction(answer) if answer else None


def _plain(text: str) -> str:
    """The text with LaTeX, typographic signs and foreign digits in the form that `_NUMBER` reads."""
    text = _RAISED.sub(lambda found: "^" + found[0].translate(_SUPERSCRIPTS), text)
    text = _VULGAR.sub(lambda found: f" {unicodedata.normalize('NFKC', found[0])} ", text)
    text = "".join(_digit(character) for character in halfwidth(text))
    for pattern, to in _REWRITTEN:
        text = pattern.sub(to, text)
    return re.sub(r"[^\S\n]+", " ", text)


def _digit(character: str) -> str:
    if character < "\x80" or not character.isdecimal():
        return character
    return str(unicodedata.decimal(character))


def _find(text: str) -> list[Found]:
    """The numbers of a text; those glued to a letter only if there are no others."""
    found: list[Found] = []
    for match in _NUMBER.finditer(text):
        found += _read(text, match, found[-1].end if found else 0)
    return [number for number in found if not number.glued] or found


def _read(text: str, match: re.Match[str], after: int) -> list[Found]:
    """The number of a match, or numbers, if what stands between its digits separates them."""
    start = match.start()
    before = text[max(after, start - 24) : start]
    lead = _LEAD.search(before)
    assert lead is not None  # everything in it is optional
    head = before[: lead.start()]
    glued = lead[0] == "" and head[-1:].isalpha()
    if head.endswith("^") or (head.endswith("**") and head[-3:-2].isalnum()):
        return []  # the exponent of something that is not a number
    negative = _negative(lead, head, after > 0 and max(after, start - 24) == after)
    enclosed = before.endswith(("(", "[", "{")) and text.startswith((")", "]", "}"), match.end())
    literals = _literals(match["number"], enclosed)
    begins = start - len(lead[0]) if negative else start
    if len(literals) > 1:
        rest = [Found(_exact(literal, False), start, match.end("number"), False) for literal in literals]
        return [Found(_exact(literals[0], negative), begins, match.end("number"), glued), *rest[1:]]
    if match["part"] and (int(match["part"]) >= int(match["whole"]) or not literals[0].isdigit()):
        fraction = Found(Fraction(int(match["part"]), int(match["whole"])), match.start("part"), match.end(), False)
        return [Found(_exact(literals[0], negative), begins, match.end("number"), glued), fraction]
    irrational = _IRRATIONAL_AFTER.match(text, match.end()) or _IRRATIONAL_BEFORE.search(before)
    value = None if irrational else _composed(match, literals[0], negative)
    return [Found(value, begins, match.end(), glued)]


def _negative(lead: re.Match[str], head: str, follows: bool) -> bool:
    """Whether the dash or word before a number is its sign, not a hyphen, a minus between two numbers, or a bullet.

    Args:
        lead: sign and currency.
        head: what stands before them.
        follows: whether `head` begins right after another number.
    """
    signs = [sign for sign in (lead["sign"], lead["inner"]) if sign]
    if not signs or signs[0] == "+" or (follows and not head.strip(" )%°")):
        return False
    if lead["inner"] and not lead["sign"]:
        return True
    spaced = bool(lead["gap"]) and lead["sign"] == "-"
    if not head.strip():
        return "\n" not in head or not spaced
    if spaced:
        return bool(_INTRODUCES.search(head.rstrip(" ")))
    return lead["sign"] != "-" or bool(_STARTS_A_SIGN.search(head))


def _literals(blob: str, enclosed: bool) -> list[str]:
    """Digits with separators as plain decimals: one, if they form one number, else each of them.

    Args:
        blob: matched by `_BLOB`, or a decimal without a whole part.
        enclosed: whether brackets stand around it, as around a pair.
    """
    if len(blob) > 2 * DIGITS:
        return [blob]
    for pattern, separator, point in (
        (r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?", ",", "."),
        (r"[1-9]\d?(?:,\d{2})+,\d{3}(?:\.\d+)?", ",", "."),
        (r"[1-9]\d{0,2}(?: \d{3})+(?:\.\d+)?", " ", "."),
        (r"[1-9]\d{0,2}(?: \d{3})+,\d+", " ", ","),
        (r"[1-9]\d{0,2}(?:['’]\d{3})+(?:\.\d+)?", "'", "."),
        (r"[1-9]\d{0,2}(?:\.\d{3})+,\d+", ".", ","),
        (r"[1-9]\d{0,2}(?:\.\d{3}){2,}", ".", ","),
        (r"\d*\.\d+|\d+", " ", "."),
        (r"" if enclosed else r"0,\d+|\d+,(?:\d{1,2}|\d{4,})", " ", ","),
    ):
        if re.fullmatch(pattern, blob):
            return [blob.replace("’", "'").replace(separator, "").replace(point, ".")]
    pieces = [piece for piece in re.split(r"[, '’]", blob) if piece]
    return [piece for piece in pieces if re.fullmatch(r"\d*\.?\d+", piece)] or [blob]


def _composed(match: re.Match[str], literal: str, negative: bool) -> Fraction | None:
    """The value of a literal with its exponent, fraction or denominator."""
    value = _exact(literal, negative)
    if value is None:
        return None
    if match["ten"] is not None or match["e"] is not None:
        power = int(match["ten"] or match["e"] or 1)
        return value * Fraction(10) ** power if len(literal) + abs(power) <= DIGITS else None
    if match["power"] is not None:
        power = int(match["power"])
        if not value or len(literal) * abs(power) > DIGITS:
            return None
        return (-1 if negative else 1) * abs(value) ** power
    if match["part"] is not None:
        return value + (-1 if negative else 1) * Fraction(int(match["part"]), int(match["whole"]))
    if match["denominator"] is not None:
        below = _exact(_literals(match["denominator"], False)[0], match["sign"] == "-")
        return value / below if below else None
    return value


def _exact(literal: str, negative: bool) -> Fraction | None:
    if len(literal) > DIGITS or not re.fullmatch(r"\d*\.?\d+", literal):
        return None
    return Fraction(("-" if negative else "") + literal)


def _result(text: str, found: Sequence[Found]) -> Found:
    """The first number; of arithmetic that begins with it, what stands after the last equals sign."""
    chosen, operated = found[0], found[0].value is None
    for last, number in itertools.pairwise(found):
        between = text[last.end : number.start]
        if operated and _RESULTS.fullmatch(between):
            chosen = number
        elif _OPERATES.fullmatch(between):
            operated = True
        else:
            break
    return chosen
