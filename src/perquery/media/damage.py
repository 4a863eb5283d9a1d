"""What is wrong with a file of a known kind, for all readers of files, and how many parts one may have."""

from __future__ import annotations

from typing import Final

PARTS_MAX: Final = 1_000_000  # frames, packets, blocks: hours of sound in 25 MB, and about a second to look at


class Damaged(Exception):
    """The file is cut off or broken; the message says what is missing, in words for whoever sent it."""


class TooManyParts(Damaged):
    def __init__(self, kind: str) -> None:
        super().__init__(f"the {kind} file has too many parts")
