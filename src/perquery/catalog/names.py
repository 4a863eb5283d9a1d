"""Names of models: how what a caller writes becomes an id of the catalogue.

Owns spelling (case, dots and dashes, dates, suffixes) and nearness. It must never decide about prices or routes,
and never turns one model's name into another's: what is not spelled alike needs an explicit alias.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

# Suffixes that callers of PPQ and OpenRouter append; what they ask for is not part of the model's name.
SUFFIXES = frozenset({"nitro", "floor", "exacto", "online", "thinking", "extended", "free"})
_DATE = re.compile(r"[-@](?:20\d{2}-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01]))$")
_DECIMAL_P = re.compile(r"(?<=\d)p(?=\d)")
_SEPARATORS = re.compile(r"[\s._]+")


def split(name: str) -> tuple[str, tuple[str, ...]]:
    """The name without its known suffixes, and those: "x/y:online:nitro" → ("x/y", ("online", "nitro"))."""
    base, *rest = name.split(":")
    suffixes: list[str] = []
    while rest and rest[-1].lower() in SUFFIXES:
        suffixes.insert(0, rest.pop().lower())
    return ":".join([base, *rest]), tuple(suffixes)


def spelling(name: str) -> str:
    """The one spelling of names that differ only in case and in dots, dashes, spaces and underscores."""
    return _SEPARATORS.sub("-", name.strip().lower())


def dateless(name: str) -> str:
    """The name without the snapshot's date: "claude-sonnet-4-5-20250929" → "claude-sonnet-4-5"."""
    return _DATE.sub("", name)


def bare(name: str) -> str:
    """The spelling without the vendor, so that hosts' names for one model meet: "zai-org/GLM-5.2" → "glm-5-2".

    Fireworks writes decimals with a p: "deepseek-v3p2".
    """
    return spelling(_DECIMAL_P.sub("-", name.rsplit("/", 1)[-1].lower()))


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The `count` known names most like `name`, best first: those that share most pairs of letters with it.

    A name that somebody mistyped is on the way of a request, so this takes about a millisecond for a thousand
    names whatever is asked; difflib takes twenty.
    """
    wanted = _pairs(spelling(name[:100]))
    spelt = spelling if "/" in name else bare
    scored = []
    for each in known:
        pairs = _pairs(spelt(each))
        likeness = 2 * len(wanted & pairs) / (len(wanted) + len(pairs) or 1)
        if likeness >= 0.3:
            scored.append((-likeness, each))
    return [each for _, each in sorted(scored)[:count]]


def _pairs(text: str) -> frozenset[str]:
    return frozenset(map("".join, itertools.pairwise(text)))
