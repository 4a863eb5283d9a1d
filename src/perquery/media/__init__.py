"""Pure bounds: how many tokens an image or a document can cost at most, from what the request says of it.

These are ceilings for holds; what is charged comes from the upstream's own figures.
"""

from __future__ import annotations

from typing import Final

# Above what a large image costs on the models sold (Gemini and Claude at most some 5,000, GPT-4o 1,445). The
# mini models count up to 48,000 for an image, at a twentieth of the price, so the bound holds in money there too.
IMAGE_TOKENS_MAX: Final = 8_192
_DOCUMENT_BYTES_PER_IMAGE: Final = 65_536


def documents_as_images(data_bytes: int) -> int:
    """How many images' worth a document of so many base64 bytes is held at: one for each 64 KB, at least one."""
    return 1 + data_bytes // _DOCUMENT_BYTES_PER_IMAGE
