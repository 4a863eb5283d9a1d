"""How long one Opus packet plays, from its first two bytes (RFC 6716, section 3.1). Pure."""

from __future__ import annotations

from typing import Final

SAMPLES_MAX: Final = 5_760  # at 48 kHz: 120 ms
RATE: Final = 48_000
_SILK: Final = (480, 960, 1_920, 2_880)
_HYBRID: Final = (480, 960)
_CELT: Final = (120, 240, 480, 960)


def samples(packet: memoryview | bytes) -> int:
    """At 48 kHz; 0 for a packet that is none."""
    if not packet:
        return 0
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        each = _SILK[config & 3]
    elif config < 16:
        each = _HYBRID[config & 1]
    else:
        each = _CELT[config & 3]
    frames = (1, 2, 2, packet[1] & 63 if len(packet) > 1 else 0)[code]
    return min(frames * each, SAMPLES_MAX)
