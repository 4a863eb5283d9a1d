"""The documentation: its parts as pages, and all of it as text for models to read."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from perquery.errors import NotFound
from perquery.web import guard, prose
from perquery.web.site import Page, Visit


async def chapter(visit: Visit) -> Response:
    name = visit.request.path_params["name"]
    if name not in prose.CHAPTERS:
        raise NotFound("There is no such page.")
    text = prose.chapter(name)
    return visit.page("text.html", text=text, body=prose.html(text, visit.api_url), part=("/blog", "Guides"))


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
    Page("/api-docs/{name}", chapter),
    Page("/llms.txt", llms),
    Page("/llms-full.txt", llms_full),
)
