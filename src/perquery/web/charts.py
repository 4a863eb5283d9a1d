"""Spending as pictures: SVG with attributes only, drawn here. Pure; each picture says in words what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from perquery.web import figures

DAY_MS: Final = 86_400_000
_WIDTH: Final = 720
_HEIGHT: Final = 100


def by_day(amounts: Sequence[tuple[int, int]], words: str) -> Markup:
    """Bars of (a day's first ms, nano-USD), one a day. words: what the picture shows."""
    most = max((amount for _, amount in amounts), default=0)
    step = _WIDTH * 1000 // max(1, len(amounts))
    bars = Markup("").join(_bar(number, step, day, amount, most) for number, (day, amount) in enumerate(amounts))
    picture = Markup('<svg viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>')
    ends = (figures.day(amounts[0][0]), figures.day(amounts[-1][0])) if amounts else ("", "")
    return Markup(
        '<figure class="chart">{}<figcaption><span>{}</span><span>at most {}</span><span>{}</span>'
        "</figcaption></figure>"
    ).format(picture.format(_WIDTH, _HEIGHT, words, bars), ends[0], figures.usd(most), ends[1])


def _bar(number: int, step: int, day: int, amount: int, most: int) -> Markup:
    """step: thousandths of a unit."""
    height = max(1, amount * _HEIGHT // most) if amount else 0
    left, width = number * step // 1000, max(1, step * 4 // 5 // 1000)
    return Markup('<rect x="{}" y="{}" width="{}" height="{}"><title>{}: {}</title></rect>').format(
        left, _HEIGHT - height, width, height, figures.day(day), figures.usd_text(amount)
    )


def share(amount: int, most: int) -> Markup:
    """A bar as long as the amount is beside the largest; the figure beside it says the same."""
    length = amount * 100 // most if most else 0
    return Markup(
        '<svg class="share" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        '<rect width="{}" height="6"/></svg>'
    ).format(max(length, 1 if amount else 0))


def every_day(amounts: dict[int, int], from_ms: int, to_ms: int) -> list[tuple[int, int]]:
    """The days of [from_ms, to_ms) in order, those without an amount too."""
    first = from_ms // DAY_MS * DAY_MS
    return [(day, amounts.get(day, 0)) for day in range(first, to_ms, DAY_MS)]
