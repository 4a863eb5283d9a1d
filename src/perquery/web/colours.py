"""The operator's accent made readable: dark enough on light paper, light enough on dark. Pure."""

from __future__ import annotations

from typing import Final, TypeAlias

CONTRAST: Final = 4.6  # above WCAG's 4.5 for text
PAPER: Final = (0xF4, 0xF1, 0xE9)  # the darkest surface of the light scheme on which the accent is text
NIGHT: Final = (0x24, 0x26, 0x28)  # the lightest one of the dark scheme
WHITE: Final = (255, 255, 255)
BLACK: Final = (0, 0, 0)
_STEPS: Final = 50
Colour: TypeAlias = tuple[int, int, int]


def stylesheet(accent: str) -> str:
    """The rules that put the accent in place of ours."""
    given = parsed(accent)
    light, dark = readable(given, PAPER, BLACK), readable(given, NIGHT, WHITE)
    return (
        f":root{{--accent:{written(light)};--on-accent:{written(upon(light))}}}"
        f"@media(prefers-color-scheme:dark){{:root{{--accent:{written(dark)};--on-accent:{written(upon(dark))}}}}}\n"
    )


def parsed(text: str) -> Colour:
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def written(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def readable(colour: Colour, ground: Colour, towards: Colour) -> Colour:
    """The colour, mixed with `towards` just as far as it takes to be read on `ground`."""
    for step in range(_STEPS + 1):
        mixed = _mixed(colour, towards, step)
        if contrast(mixed, ground) >= CONTRAST:
            return mixed
    return towards


def upon(colour: Colour) -> Colour:
    """Black or white, whichever is read better on it."""
    return max(WHITE, BLACK, key=lambda ink: contrast(ink, colour))


def contrast(one: Colour, other: Colour) -> float:
    """WCAG's ratio, from 1 to 21."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _mixed(one: Colour, other: Colour, step: int) -> Colour:
    red, green, blue = (a + (b - a) * step // _STEPS for a, b in zip(one, other, strict=True))
    return red, green, blue


def _luminance(colour: Colour) -> float:
    red, green, blue = (_linear(part / 255) for part in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)
