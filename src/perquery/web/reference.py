"""The documentation: its parts as pages, and all of it as text for models to read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response

from perquery.errors import NotFound
from perquery.web import guard, prose, shelf
from perquery.web.site import Page, Visit


@dataclass(frozen=True, slots=True)
class Operation:
    """A request of the API as a reader needs it. parameters: name, where it stands, what it means."""

    verb: str
    path: str
    summary: str
    open: bool
    body: bool
    parameters: tuple[tuple[str, str, str], ...]


def operations(document: Mapping[str, Any]) -> dict[str, list[Operation]]:
    """By tag, as the document has them; a path that is there under /v1 too only once."""
    found: dict[str, list[Operation]] = {}
    paths = document["paths"]
    for path, verbs in paths.items():
        if f"/v1{path}" in paths:
            continue
        for verb, said in verbs.items():
            if verb != "head":
                found.setdefault(next(iter(said.get("tags", ())), "other"), []).append(_operation(verb, path, said))
    return found


def _operation(verb: str, path: str, said: Mapping[str, Any]) -> Operation:
    parameters = tuple((each["name"], each["in"], each.get("description", "")) for each in said.get("parameters", ()))
    return Operation(
        verb.upper(), path, said.get("summary", ""), "security" not in said, "requestBody" in said, parameters
    )


async def api(visit: Visit) -> Response:
    models = shelf.featured(shelf.callable_now(visit.state.catalog), 1)
    return visit.page(
        "api_docs.html",
        groups=operations(visit.site.document()),
        chapters=[prose.chapter(name) for name in prose.CHAPTERS],
        model=models[0].id if models else "MODEL",
    )


async def chapter(visit: Visit) -> Response:
    name = visit.request.path_params["name"]
    if name not in prose.CHAPTERS:
        raise NotFound("There is no such page.")
    text = prose.chapter(name)
    return visit.page("text.html", text=text, body=prose.html(text, visit.api_url), part=("/api-docs", "API"))


async def llms(visit: Visit) -> Response:
    """What there is to read, after llmstxt.org."""
    name, base = visit.settings.site.name, visit.base_url
    chapters = [f"- [{text.title}]({base}/api-docs/{text.slug})" for text in map(prose.chapter, prose.CHAPTERS)]
    guides = [f"- [{text.title}]({base}/blog/{text.slug})" for text in map(prose.guide, prose.GUIDES)]
    lines = [
        f"# {name}",
        "",
        "> AI models of many makers behind one API, paid per query from a prepaid balance.",
        "",
        f"The API's base URL is {visit.api_url}/v1; it speaks OpenAI's chat and Responses and Anthropic's Messages.",
        f"The models and their prices: {visit.api_url}/v1/models. All of the API: {visit.api_url}/openapi.json.",
        f"Everything below as one text: {base}/llms-full.txt.",
        *("", "## API", "", *chapters),
        *("", "## Tools", "", *guides),
    ]
    return _plain(visit, "\n".join(lines) + "\n")


async def llms_full(visit: Visit) -> Response:
    texts = (*map(prose.chapter, prose.CHAPTERS), *map(prose.guide, prose.GUIDES))
    parts = [f"# {text.title}\n\n{prose.filled(text.source, visit.api_url)}" for text in texts]
    return _plain(visit, "\n".join(parts))


def _plain(visit: Visit, text: str) -> Response:
    return Response(text, headers=guard.headers(secure=visit.secure), media_type="text/plain; charset=utf-8")


PAGES: Final = (
    Page("/api-docs", api),
    Page("/api-docs/{name}", chapter),
    Page("/llms.txt", llms),
    Page("/llms-full.txt", llms_full),
)
