"""Debian's Chromium as a visitor's browser, and what it must never do: ask another host, complain, or scroll sideways.

A `Watched` page keeps what went wrong on it, so that a test can say that nothing did.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Response, sync_playwright

PROGRAM: Final = Path("/usr/bin/chromium")
AXE: Final = Path(__file__).parents[2] / ".agents/npm/node_modules/axe-core/axe.min.js"
WORDS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SIZES: Final = ((390, 844), (1440, 900))
BYTES_MAX: Final = 100 * 1024
PATIENCE_MS: Final = 60_000
Scheme: TypeAlias = Literal["light", "dark"]
SCHEMES: Final[tuple[Scheme, ...]] = ("light", "dark")
_SERIOUS: Final = ("serious", "critical")


@dataclass
class Watched:
    """A page, whom it asked, what it complained of, and how much it loaded (as compressed on the wire)."""

    page: Page
    base_url: str
    foreign: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    loaded: list[Response] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("response", lambda response: self.loaded.append(response))

    def _asked(self, url: str) -> None:
        if urlsplit(url).scheme not in ("data", "blob") and not url.startswith(self.base_url + "/"):
            self.foreign.append(url)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self, path: str) -> Response | None:
        self.loaded.clear()
        return self.page.goto(self.base_url + path)

    @property
    def bytes_loaded(self) -> int:
        """Of the page and all that it asked for, but a stream that goes on."""
        ended = [each for each in self.loaded if "event-stream" not in each.headers.get("content-type", "")]
        return sum(each.request.sizes()["responseBodySize"] for each in ended)

    @property
    def sideways_px(self) -> int:
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def violations(self) -> list[str]:
        """What axe-core finds serious or worse, each with its first place."""
        self.page.evaluate(AXE.read_text("utf-8"))
        found: Mapping[str, Any] = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{each['id']}: {json.dumps(each['nodes'][0]['target'])} {each['nodes'][0]['failureSummary']}"
            for each in found["violations"]
            if each["impact"] in _SERIOUS
        ]

    def check(self) -> None:
        assert not self.foreign
        assert not self.complaints
        assert self.sideways_px <= 0


@contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=PROGRAM, args=WORDS)
        try:
            yield running
        finally:
            running.close()


@contextmanager
def visitor(
    running: Browser, size: tuple[int, int] = SIZES[1], scheme: Scheme = "light", *, scripts: bool = True
) -> Iterator[BrowserContext]:
    """Somebody with cookies of their own."""
    width, height = size
    context = running.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, java_script_enabled=scripts
    )
    context.set_default_timeout(PATIENCE_MS)
    try:
        yield context
    finally:
        context.close()
