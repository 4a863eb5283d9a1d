"""Files that pages need, read once: each at a URL that names its content, so that it may be kept for ever.

It must never read a file while it serves.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from perquery.config import ConfigError, SiteSetting
from perquery.web import colours

FOLDER: Final = Path(__file__).with_name("static")
PREFIX: Final = "/static/"
LOGO_BYTES_MAX: Final = 256 * 1024
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}


@dataclass(frozen=True, slots=True)
class Asset:
    url: str
    media_type: str
    body: bytes
    gzipped: bytes


class Assets:
    """All of them. Raises ConfigError where the operator's logo is not one."""

    def __init__(self, site: SiteSetting) -> None:
        found = {file.name: file.read_bytes() for file in sorted(FOLDER.iterdir()) if file.suffix in _TYPES}
        if site.accent is not None:
            found["site.css"] += colours.stylesheet(site.accent).encode()
        self.logo = "logo.svg"
        if site.logo is not None:
            self.logo = f"operator{site.logo.suffix.lower()}"
            found[self.logo] = _logo(site.logo)
        self._by_name = {name: _asset(name, body) for name, body in found.items()}
        self._by_url = {asset.url: asset for asset in self._by_name.values()}

    def url(self, name: str) -> str:
        """Where the file is. Raises KeyError for one that there is not."""
        return self._by_name[name].url

    def at(self, url: str) -> Asset | None:
        return self._by_url.get(url)


def _asset(name: str, body: bytes) -> Asset:
    stem, _, suffix = name.rpartition(".")
    url = f"{PREFIX}{stem}.{sha256(body).hexdigest()[:16]}.{suffix}"
    return Asset(url, _TYPES[f".{suffix}"], body, gzip.compress(body, 9, mtime=0))


def _logo(path: Path) -> bytes:
    if path.suffix.lower() not in (".svg", ".png"):
        raise ConfigError("site.logo: must be an SVG or a PNG file")
    try:
        body = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"site.logo: cannot be read: {error.strerror}") from error
    if len(body) > LOGO_BYTES_MAX:
        raise ConfigError(f"site.logo: larger than {LOGO_BYTES_MAX} bytes")
    return body
