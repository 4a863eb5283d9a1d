"""The studios by name: what a row of `hosts` may say that makes its videos. Data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from perquery.providers.fal import FalVideos
from perquery.providers.hosts import Host
from perquery.providers.line import Line
from perquery.providers.studio import Studio
from perquery.providers.veo import Veo
from perquery.providers.xai_videos import XaiVideos

STUDIOS: Final[Mapping[str, Callable[[Host, Line], Studio]]] = {"fal": FalVideos, "veo": Veo, "xai": XaiVideos}
