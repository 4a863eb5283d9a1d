"""Captions: a transcript cut into cues that can be read, as SubRip (srt) or WebVTT. Pure.

A cue has at most two lines of 42 characters, stands at most seven seconds and never across a silence; cues follow
each other in time and never overlap, whatever times the words were given. No words: a valid file without cues.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

LINE_CHARS: Final = 42
LINES: Final = 2
CUE_MS_MAX: Final = 7_000
CUE_MS_MIN: Final = 500  # where the next one leaves room
GAP_MS: Final = 800  # a silence that ends a cue
_SENTENCE_ENDS: Final = tuple(".?!…。？！")


@dataclass(frozen=True, slots=True)
class Word:
    """A word as it is written, punctuation included, and when it is heard."""

    text: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Cue:
    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


def spread(text: str, start_ms: int, end_ms: int) -> list[Word]:
    """The words of a passage of which only the whole is timed, each given its part by its length."""
    words = text.split()
    total, seen, timed = sum(map(len, words)), 0, []
    for word in words:
        begins = start_ms + (end_ms - start_ms) * seen // total
        seen += len(word)
        timed.append(Word(word, begins, start_ms + (end_ms - start_ms) * seen // total))
    return timed


def cues(words: Iterable[Word]) -> list[Cue]:
    found: list[Cue] = []
    group: list[Word] = []
    for word in _pieces(words):
        if group and not _fits(group, word):
            found.append(_cue(group))
            group = []
        group.append(word)
    if group:
        found.append(_cue(group))
    return _apart(found)


def srt(cues: Sequence[Cue]) -> str:
    return "".join(
        f"{number}\n{_time(cue.start_ms, ',')} --> {_time(cue.end_ms, ',')}\n"
        + "\n".join(line.replace("-->", "→") for line in cue.lines)
        + "\n\n"
        for number, cue in enumerate(cues, 1)
    )


def vtt(cues: Sequence[Cue]) -> str:
    return "WEBVTT\n\n" + "".join(
        f"{_time(cue.start_ms, '.')} --> {_time(cue.end_ms, '.')}\n" + "\n".join(map(_escaped, cue.lines)) + "\n\n"
        for cue in cues
    )


def _pieces(words: Iterable[Word]) -> Iterator[Word]:
    """The words in the order of time, each without what no line may hold, and none longer than a line."""
    at = 0
    for word in words:
        start = max(at, word.start_ms)
        end = max(start, min(word.end_ms, start + CUE_MS_MAX))
        text = " ".join("".join(_printed(word.text)).split())
        parts = [text[cut : cut + LINE_CHARS].strip() for cut in range(0, len(text), LINE_CHARS)]
        for number, part in enumerate(parts):
            begins = start + (end - start) * number // len(parts)
            yield Word(part, begins, start + (end - start) * (number + 1) // len(parts))
        at = end


def _printed(text: str) -> Iterator[str]:
    for character in text:
        kind = unicodedata.category(character)
        yield " " if character.isspace() or kind in ("Cc", "Cs", "Zl", "Zp") else character


def _fits(group: Sequence[Word], word: Word) -> bool:
    """Whether the word may stand in the group's cue."""
    last = group[-1]
    if word.start_ms - last.end_ms > GAP_MS or word.end_ms - group[0].start_ms > CUE_MS_MAX:
        return False
    if last.text.endswith(_SENTENCE_ENDS) and len(_wrapped(group)) > 1:
        return False
    return len(_wrapped([*group, word])) <= LINES


def _wrapped(group: Sequence[Word]) -> list[str]:
    lines = [""]
    for word in group:
        joined = lines[-1] + _between(lines[-1], word.text) + word.text
        if len(joined) <= LINE_CHARS:
            lines[-1] = joined
        else:
            lines.append(word.text)
    return lines


def _between(before: str, after: str) -> str:
    """What stands between two words: nothing in scripts that are written without spaces."""
    if not before or (_unspaced(before[-1]) and _unspaced(after[0])):
        return ""
    return " "


def _unspaced(character: str) -> bool:
    return unicodedata.east_asian_width(character) in ("W", "F") and not "\uac00" <= character <= "\ud7a3"


def _cue(group: Sequence[Word]) -> Cue:
    return Cue(group[0].start_ms, group[-1].end_ms, tuple(_wrapped(group)))


def _apart(found: Sequence[Cue]) -> list[Cue]:
    """The cues, each later than the one before and none without time; short ones stay a little where there is room."""
    apart: list[Cue] = []
    at = 0
    for number, cue in enumerate(found):
        start = max(at, cue.start_ms)
        following = found[number + 1].start_ms if number + 1 < len(found) else start + CUE_MS_MIN
        end = max(cue.end_ms, min(start + CUE_MS_MIN, following), start + 1)
        at = min(end, start + CUE_MS_MAX)
        apart.append(Cue(start, at, cue.lines))
    return apart


def _escaped(line: str) -> str:
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _time(at_ms: int, point: str) -> str:
    seconds, ms = divmod(at_ms, 1_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{ms:03}"
