"""Ids of generations: unique, in the order of time, the same for hold, transfer, receipt and log."""

from __future__ import annotations

import random
import time


def new_id(now_ms: int | None = None) -> tuple[str, int]:
    """("gen-" + a UUIDv7 in hexadecimal (RFC 9562), its time in ms)."""
    at_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    # Not a secret: who may read a generation is decided by its account. (os.urandom hands over Python's lock.)
    drawn = random.getrandbits(74)
    value = (at_ms & (2**48 - 1)) << 80 | 0x7 << 76 | (drawn >> 62) << 64 | 0b10 << 62 | drawn & (2**62 - 1)
    return f"gen-{value:032x}", at_ms


def first_id(at_ms: int) -> str:
    """The smallest id of that millisecond: ids from a time on are those not below it."""
    return f"gen-{(at_ms & (2**48 - 1)) << 80:032x}"
