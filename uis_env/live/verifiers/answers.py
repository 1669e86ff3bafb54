"""Where the answer stands in a text: reasoning and closing remarks are cut, boxes, tags and announcements are found."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

LONGEST = 50_000
"""Characters of a text that are read, from its end."""
_MOST_MARKS = 50
"""Boxes, tags and announcements that are tried, from the last one."""

_THOUGHT = r"(?:think|thinking|thought|thoughts|reasoning|reflection|scratchpad)"
_OPEN_OR_CLOSE = re.compile(
    rf"<(?P<close>/)?{_THOUGHT}>|<\|(?:begin|(?P<end>end))_of_thought\|>|◁(?P<kimi>/)?think▷|\[(?P<square>/)?THINK\]",
    re.IGNORECASE,
)
_HALFWIDTH = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)}
INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")
_BLANKS = re.compile(r"[^\S\n]+")
_LINE_BREAK = re.compile(r"\r\n?|[\u2028\u2029\x85\x0b\x0c]")

_ANNOUNCEMENT = re.compile(
    r"\b(?:answer|(?:correct|right|best) (?:option|choice))\b[*_`\"'”]*"
    r"(?: to (?:the|this|that|your) [^\n.?!:=]{1,60}?)?"
    r"(?: (?:I|we) (?:get|got|have|found|choose))?\s*"
    r"(?:(?:is|was|would be|should be|must be|will be|has to be|isn['’]t|equals|comes (?:out )?to)\b"
    r"(?: (?:as follows|given by|therefore|thus|then))?|[:：=→⇒])[\s:：=*_`]*"
    r"|(?:^|\n)[#*_ ]*(?:final )?answer[*_ ]*\n[\s*_`]*"
    r"|(?:^|\n) ?####\s?(?=[-−–+]?\s?[$€£]?\d|\S+\s*$)",
    re.IGNORECASE,
)
_NEGATED = re.compile(r"isn['’]t\b|is\s+(?:definitely |certainly |clearly )?(?:not|neither|never)\b", re.IGNORECASE)
_INSTEAD = re.compile(r"\b(?:but|rather|instead)\b|[,;]\s?it(?:['’]s| is)\b|[.!]\s", re.IGNORECASE)
_HOPE = re.compile(r"\b(?:hope|trust|wish)\b[^.!?\n]*$|\b(?:if|whether) (?:my|this|the|that|your) $", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
_TAG = re.compile(r"<(final_answer|finalanswer|answer|ans)>(.*?)(?:</\1>|$)", re.IGNORECASE | re.DOTALL)
_BOX = re.compile(r"\\f?boxed\s*(?=\{)|\\fbox\s*(?=\{)|\\boxed\s+(?=[^\s{])")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_SPECIAL = re.compile(
    r"<\|[a-z_]{1,30}\|>|</?s>|<(?:eos|end_of_turn)>|^[ ]?(?:-{3,}|\*{3,}|_{3,}|={3,})[ ]?$", re.I | re.M
)

_CLOSING = (
    r"(?:I|we) (?:really |do |truly |sincerely )?(?:hope|trust)\b|hope(?:fully)?\b|(?:please )?(?:let|tell) me\b"
    r"|(?:please )?(?:feel free|do not hesitate|don['’]t hesitate)\b|please (?:ask|reach out|note|remember)\b"
    r"|is there anything\b|anything else\b|(?:if|should) you (?:still |ever |would |['’]d |need|have|want|like)"
    r"|(?:many )?thank(?:s| you)\b|you(?:['’]re| are) (?:very |most )?welcome|good luck\b"
    r"|best (?:of luck|regards|wishes)"
    r"|(?:kind |warm )?regards\b|have (?:a|an) \w+ (?:day|time|evening|night|weekend|one)|happy to help|glad (?:I|to)\b"
    r"|I(?:['’]m| am) (?:always )?(?:happy|glad|here) to\b|cheers\b|would you like\b|do you (?:want|need|have)\b"
    r"|don['’]t forget\b|enjoy\b|(?:that['’]s|this is) (?:all|it)[.!]|take care\b|happy (?:learning|studying)"
)
_NOTE = r"(?:please )?(?:note|remark|n\.?b\.?|p\.?s\.?|disclaimer)\b[*_]*\s?(?:[:：]|that\b)"
_REMARK = re.compile(
    rf"(?:^|(?<=\n)|(?<=[.!?…)\]}}*\"”>])\s)[ ]?[-*_~(\[]*(?:(?:{_CLOSING})[^\n]*?(?:[.!?]+[)*_\]]*(?=\s|$)|(?=\n)|$)"
    rf"|{_NOTE}(?![^\n]*(?:\\boxed|\b(?:so|thus|hence|therefore|final)\b[^.\n]{{0,20}}\banswer\b))[^\n]*)",
    re.IGNORECASE,
)
_ORNAMENT = re.compile(r"[\s\u2600-\u27bf\ufe0f\U0001f000-\U0001faff]+$")


class Part(NamedTuple):
    """A stretch of a text in which an answer may stand, and whether the text announces that it does."""

    text: str
    announced: bool


def visible(text: str) -> str:
    """The text without its reasoning blocks; "" while one is still open, as what follows it was never written.

    >>> visible("<think>5? no.</think>7"), visible("so 5, no.</think>7"), visible("<think>the answer is 7")
    ('7', '7', '')
    """
    kept: list[str] = []
    depth = start = 0
    for mark in _OPEN_OR_CLOSE.finditer(text):
        closes = any(mark[name] for name in ("close", "end", "kimi", "square"))
        if depth == 0 and not closes:
            kept.append(text[start : mark.start()])
        elif depth == 0:
            kept.clear()  # a block whose opening tag the server kept to itself
        depth = max(0, depth - 1) if closes else depth + 1
        start = mark.end()
    return "" if depth else "".join([*kept, text[start:]])


def clean(text: str) -> str:
    r"""What a reader sees: composed characters, one kind of blank and line break; no reasoning, no closing remarks.

    >>> clean("<think>?</think>Paris.\u200b\n\nI hope this answer is helpful!")
    'Paris.'
    """
    text = _LINE_BREAK.sub("\n", INVISIBLE.sub("", visible(text)[-LONGEST:]))
    text = _BLANKS.sub(" ", unicodedata.normalize("NFC", _SPECIAL.sub("", text)))
    return without_remarks(text)


def halfwidth(text: str) -> str:
    """The text with full-width letters, digits and marks as ASCII, such as "（Ｂ）" as "(B)"."""
    return text.translate(_HALFWIDTH)


def without_remarks(text: str) -> str:
    """The text without the closing remarks at its end: hopes, thanks, offers, notes; all of it, if it is only those."""
    whole = text.strip()
    remarks = list(_REMARK.finditer(text))
    end = len(text)
    for remark in reversed(remarks):
        tail = _ORNAMENT.sub("", text[:end])
        if remark.end() < len(tail):
            break
        end = remark.start()
    return _ORNAMENT.sub("", text[:end]).strip() or whole


def marked(text: str) -> bool:
    """Whether the text announces its answer ("Answer: ...", "the answer is ...", a box, a tag)."""
    return any(pattern.search(text[-LONGEST:]) for pattern in (_ANNOUNCEMENT, _BOX, _TAG))


def parts(text: str, negations: bool = False) -> Iterator[Part]:
    r"""Where the answer may stand in a cleaned text, most binding first.

    The last box or `<answer>` tag that is not empty, alone. Without one: what follows each announcement, from the last
    to the first, then the text without the sentences of these announcements.

    Args:
        text: cleaned.
        negations: whether "the answer is not X" announces only what follows "but" or stands in the next sentence.

    >>> [part.text for part in parts(r"\boxed{3}, or rather \boxed{\frac{7}{2}}")]
    ['\\frac{7}{2}']
    """
    framed = framed_part(text)
    if framed is not None:
        inner = framed_part(framed)
        yield Part((framed if inner is None else inner).strip(), True)
        return
    rest, end = text, len(text)
    for mark in reversed(list(_ANNOUNCEMENT.finditer(text))[-_MOST_MARKS:]):
        part = text[mark.end() : end]
        end = mark.start()
        first = _SENTENCE_END.search(part)
        sentence = mark.end() + (first.end() if first else len(part))
        rest = rest[:end] + "\n" + rest[sentence:]
        if negations and _NEGATED.search(text, mark.start(), mark.end() + 20):
            instead = _INSTEAD.search(part)
            part = part[instead.end() :] if instead else ""
        if part.strip() and not _HOPE.search(text[max(0, end - 60) : end]):
            yield Part(part, True)
    yield Part(rest, False)


def framed_part(text: str) -> str | None:
    """What the last box or tag holds that is not empty; None without one. A box cut off holds the rest of its line."""
    tags = [(found.start(), found) for found in list(_TAG.finditer(text))[-_MOST_MARKS:]]
    boxes = [(found.start(), found) for found in list(_BOX.finditer(text))[-_MOST_MARKS:]]
    for _, found in sorted([*tags, *boxes], key=lambda pair: pair[0], reverse=True):
        held = found[2] if found.re is _TAG else _braced(text, found.end())
        if held.strip(" {}$\n"):
            return held
    return None


def _braced(text: str, start: int) -> str:
    """What the braces opened at `start` hold, doubled ones unwrapped; without braces the word there."""
    if text[start] != "{":
        return text[start:].split(maxsplit=1)[0].rstrip("$.,")
    end = _partner(text, start)
    held = text[start + 1 :].split("\n", 1)[0].rstrip("$ ") if end is None else text[start + 1 : end]
    for _ in range(3):
        if held.startswith("{") and _partner(held, 0) == len(held) - 1:
            held = held[1:-1].strip()
    return held


def _partner(text: str, start: int) -> int | None:
    """Where the brace at `start` is closed; None if it is not."""
    depth = 0
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return brace.start()
    return None
