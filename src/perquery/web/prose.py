"""Texts in Markdown as pages show them: the project's own documentation and the blog's posts, read once.

The texts are the package's own, and raw HTML in them is still shown as text. It must never show an address of this
machine where the reader's gateway is meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

DOCS: Final = Path(__file__).with_name("docs")
POSTS: Final = Path(__file__).with_name("posts")
# What a caller reads, in the order of reading; the rest of docs/ is for operators.
CHAPTERS: Final = (
    *("api", "billing", "errors", "models", "dialects", "routing", "search", "modalities", "audio", "images"),
    *("videos", "topups", "auto-topup"),
)
# The tools' pages by the last part of their address. The first eight are where others put them.
GUIDES: Final[Mapping[str, str]] = {
    **{
        f"using-{name}-with-payperq": file
        for name, file in (
            *(("claude-code", "claude-code"), ("opencode", "opencode"), ("cursor", "cursor"), ("cline", "cline")),
            *(("aider", "aider"), ("roo", "roo-code"), ("openwebui", "open-webui"), ("goose", "goose")),
        )
    },
    **{
        f"using-{name}": name
        for name in ("codex", "continue", "langchain", "llm", "openai-sdk", "anthropic-sdk", "vercel-ai-sdk")
    },
}
# The tools' pages say first what $BASE is; here it is filled in.
PREAMBLE: Final = re.compile(r"^`\$BASE` is the gateway's address[^\n]*\n+", re.MULTILINE)
_BASE: Final = re.compile(r"\$BASE(?:_URL)?\b|http://127\.0\.0\.1:8000")
_GUIDE_OF: Final = {file: slug for slug, file in GUIDES.items()}


@dataclass(frozen=True, slots=True)
class Text:
    """source: Markdown without its title. summary: its first sentence, plain."""

    slug: str
    title: str
    source: str
    on: date | None = None

    @property
    def summary(self) -> str:
        plain = re.sub(r"^```.*?^```", "", self.source, flags=re.DOTALL | re.MULTILINE)
        for block in plain.split("\n\n"):
            line = " ".join(block.split())
            if line and line[0] not in "#|`>-":
                sentence = re.split(r"(?<=[.:])\s", line)[0].rstrip(":")
                return re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", sentence)
        return ""


@cache
def guide(slug: str) -> Text:
    """How a tool is set up. Raises KeyError for an unknown one."""
    return _read(DOCS / "tools" / f"{GUIDES[slug]}.md", slug)


@cache
def chapter(name: str) -> Text:
    """A part of the documentation. Raises KeyError for one that is not a caller's."""
    if name not in CHAPTERS:
        raise KeyError(name)
    return _read(DOCS / f"{name}.md", name)


@cache
def posts() -> tuple[Text, ...]:
    """The blog's own, newest first. A file is called after its day and its address."""
    found = []
    for file in sorted(POSTS.glob("*.md"), reverse=True):
        found.append(_read(file, file.stem[11:], date.fromisoformat(file.stem[:10])))
    return tuple(found)


def _read(file: Path, slug: str, on: date | None = None) -> Text:
    title, _, source = file.read_text("utf-8").removeprefix("# ").partition("\n")
    return Text(slug, title.strip(), PREAMBLE.sub("", source).strip() + "\n", on)


def filled(source: str, api_url: str) -> str:
    """The Markdown with the reader's gateway in place of the example's."""
    return _BASE.sub(lambda _: api_url, source)


@lru_cache(64)
def html(text: Text, api_url: str) -> Markup:
    return Markup(_renderer().render(filled(text.source, api_url), {"folder": "tools" if text.slug in GUIDES else ""}))


@cache
def _renderer() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False}).enable("table")
    rules: Mapping[str, Callable[..., str]] = {
        "fence": _code,
        "code_block": _code,
        "table_open": lambda *_: '<div class="scroll" tabindex="0"><table class="ledger">\n',
        "table_close": lambda *_: "</table></div>\n",
        "heading_open": _heading,
        "link_open": _link,
        "link_close": _link_end,
    }
    for name, rule in rules.items():
        made.add_render_rule(name, _bound(rule))
    return made


def _bound(rule: Callable[..., str]) -> Callable[..., str]:
    def render(_self: Any, tokens: Sequence[Token], index: int, _options: Any, env: Mapping[str, str]) -> str:
        return rule(tokens, index, env)

    return render


def _code(tokens: Sequence[Token], index: int, _env: Any) -> str:
    block = '<div class="copyable lines"><pre tabindex="0"><code>{}</code></pre>{}</div>\n'
    button = Markup('<button type="button" class="copy" data-copy hidden>Copy</button>')
    return Markup(block).format(tokens[index].content.rstrip("\n"), button)


def _heading(tokens: Sequence[Token], index: int, _env: Any) -> str:
    name = re.sub(r"[^\w]+", "-", tokens[index + 1].content.lower()).strip("-")
    return Markup('<{} id="{}">').format(tokens[index].tag, name)


def _link(tokens: Sequence[Token], index: int, env: Mapping[str, str]) -> str:
    place = _place(str(tokens[index].attrGet("href")), env["folder"])
    return Markup('<a href="{}">').format(place) if place else ""


def _link_end(tokens: Sequence[Token], index: int, env: Mapping[str, str]) -> str:
    opening = next(token for token in reversed(tokens[:index]) if token.type == "link_open")
    return "</a>" if _place(str(opening.attrGet("href")), env["folder"]) else ""


def _place(href: str, folder: str) -> str:
    """Where a link of the documentation leads on this site; nowhere, where the page is not on it."""
    if href.startswith(("https://", "/", "#")):
        return href
    path, mark, part = href.partition("#")
    name = path.rpartition("/")[2].removesuffix(".md")
    in_tools = "tools/" in path or (folder == "tools" and not path.startswith("../"))
    if in_tools:
        return f"/blog/{_GUIDE_OF[name]}" if name in _GUIDE_OF else "/blog"
    return f"/api-docs/{name}{mark}{part}" if name in CHAPTERS else ""
