"""Which efforts of thinking a model takes, and the nearest to one that it does not. Pure.

An effort comes from any caller's shape: Anthropic has `max`, OpenAI's first models `minimal`. It must never turn what
a model takes into something else, nor an effort into none.
"""

from __future__ import annotations

import re
from typing import Final

_ALL: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_USUAL: Final = ("none", "low", "medium", "high")  # what hosts of open models have
_OPENAI: Final = re.compile(r"(?:^|/)(?:gpt-(\d+)(?:\.(\d+))?|o\d)(.*)")


def nearest(model: str, effort: str) -> str:
    """The effort that the model takes in the place of this one: the next below, else the least; "none" stays the least
    that there is. A word that is not known stays, for the vendor to judge.
    """
    taken = _taken(model)
    if effort not in _ALL or effort in taken:
        return effort
    below = [one for one in taken if one != "none" and _ALL.index(one) < _ALL.index(effort)]
    thinking = [one for one in taken if one != "none"]
    return below[-1] if below else thinking[0]


def _taken(model: str) -> tuple[str, ...]:
    """By OpenAI's reference of its models and the refusals of its API; of other vendors' models the usual ones."""
    found = _OPENAI.search(model)
    if found is None:
        return _USUAL
    if found[1] is None:
        return ("low", "medium", "high")
    version, rest = (int(found[1]), int(found[2] or 0)), found[3]
    if "pro" in rest:
        return ("high",) if version == (5, 0) else ("medium", "high", "xhigh")
    if version >= (5, 6):
        return ("none", "low", "medium", "high", "xhigh", "max")
    taken: tuple[str, ...] = ("low", "medium", "high")
    if version >= (5, 2) or "codex-max" in rest:
        taken += ("xhigh",)
    if "codex" in rest:
        return taken
    return ("minimal" if version == (5, 0) else "none", *taken)
