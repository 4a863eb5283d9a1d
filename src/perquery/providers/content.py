"""What finished jobs made: files in the data folder, fetched from where the upstream left them, for a while.

Bounded in size, each and all together, and in time; checked by what they hold, not by what they are called. Nothing is
ever fetched from an address inside, but from the upstream's own.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urljoin, urlsplit

from perquery.config import VideoSetting
from perquery.errors import UpstreamError
from perquery.outbound import Client, OutboundError, Response
from perquery.providers.failures import broke
from perquery.providers.studio import Film

FETCH_S: Final = 600.0
IDLE_S: Final = 60.0
REDIRECTS_MAX: Final = 3
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HEAD_BYTES: Final = 12


class Content:
    """One gateway's files. Another one fetches its own."""

    def __init__(self, folder: Path, client: Client, setting: VideoSetting) -> None:
        self._folder = folder
        self._client = client
        self._setting = setting

    def path(self, id: str) -> Path:
        return self._folder / f"{id}.bin"

    def held(self, id: str) -> bool:
        return self.path(id).is_file()

    async def fetch(self, id: str, film: Film) -> tuple[str, int]:
        """Keep the film; its type and its bytes. Raises UpstreamError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        response = await self._opened(film)
        fresh = self._folder / f"{id}.{secrets.token_hex(4)}.part"
        try:
            size = await self._written(response, fresh)
            kind = kind_of(fresh)
            if kind is None:
                raise UpstreamError("garbage", "what the upstream made is no video", status=response.status)
            fresh.replace(self.path(id))
        except OutboundError as error:
            raise broke(error) from error
        finally:
            response.abort()
            fresh.unlink(missing_ok=True)
        return kind, size

    def forget(self, id: str) -> None:
        self.path(id).unlink(missing_ok=True)

    def sweep(self, now_s: float) -> int:
        """Delete what is too old, then the oldest of what is too much; how many files."""
        if not self._folder.is_dir():
            return 0
        found = [(path.stat().st_mtime, path.stat().st_size, path) for path in self._folder.glob("*.bin")]
        found.sort(key=lambda entry: entry[0])
        kept_bytes, gone = sum(size for _, size, _ in found), 0
        for made_s, size, path in found:
            if made_s + self._setting.keep_s < now_s or kept_bytes > self._setting.disk_bytes_max:
                path.unlink(missing_ok=True)
                kept_bytes -= size
                gone += 1
        return gone

    async def _opened(self, film: Film) -> Response:
        """The head of the file itself, behind redirects; headers go to no other address."""
        url, headers, own = film.url, film.headers, film.own
        for _ in range(REDIRECTS_MAX + 1):
            response = await self._asked(url, headers, guard=not own)
            if response.status == 200:
                return response
            response.abort()
            where = response.headers.get("location", "")
            if response.status not in _REDIRECTS or not where:
                break
            further = urljoin(url, where)
            if _origin(further) != _origin(url):
                headers, own = {}, False
            url = further
        raise UpstreamError("down", f"the upstream's file answers {response.status}", status=response.status)

    async def _asked(self, url: str, headers: Mapping[str, str], *, guard: bool) -> Response:
        try:
            return await self._client.request(
                "GET", url, headers=headers, timeout_s=FETCH_S, idle_timeout_s=IDLE_S, guard=guard
            )
        except OutboundError as error:
            raise broke(error) from error

    async def _written(self, response: Response, path: Path) -> int:
        size = 0
        with path.open("wb") as file:
            async for chunk in response:
                size += len(chunk)
                if size > self._setting.file_bytes_max:
                    raise UpstreamError("garbage", "the upstream's file is too large", status=response.status)
                file.write(chunk)
        return size


def kind_of(path: Path) -> str | None:
    """A video's type, by its first bytes."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head[4:8] == b"ftyp":
        return "video/mp4"
    return "video/webm" if head.startswith(b"\x1a\x45\xdf\xa3") else None


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
