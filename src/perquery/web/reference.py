"""The documentation: its parts as pages, and all of it as text for models to read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from starlette.responses import Response

from perquery.errors import NotFound
from perquery.web import ask, guard, prose, shelf
from perquery.web.site import Page, Visit


@dataclass(frozen=True, slots=True)
class Operation:
    """A request of the API as a reader needs it. parameters: name, where it stands, what it means. example: a body,
    where there is one to show; tried: whether it can be sent from the page.
    """

    verb: str
    path: str
    summary: str
    open: bool
    body: bool
    parameters: tuple[tuple[str, str, str], ...]
    example: str = ""
    tried: bool = False

    @property
    def asked_for(self) -> list[tuple[str, str]]:
        """What a reader fills in beside the body: each name, and whether it is in the path or the query string."""
        return [(name, place) for name, place, _ in self.parameters if place != "header" and name != "credit_id"]


_HELLO: Final = [{"role": "user", "content": "Hello"}]
# A body for each, but for its model, with the kind of model that it wants ("" for none).
_BODIES: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "/v1/chat/completions": ("chat", {"messages": _HELLO, "stream": True}),
    "/v1/completions": ("chat", {"prompt": "Once upon a time", "max_tokens": 64, "stream": True}),
    "/v1/messages": ("chat", {"messages": _HELLO, "max_tokens": 256, "stream": True}),
    "/v1/messages/count_tokens": ("chat", {"messages": _HELLO}),
    "/v1/responses": ("chat", {"input": "Hello", "stream": True}),
    "/v1/embeddings": ("embedding", {"input": "Hello"}),
    "/v1/rerank": ("rerank", {"query": "What is a ledger?", "documents": ["A book of accounts.", "A small bird."]}),
    "/v1/moderations": ("moderation", {"input": "Hello"}),
    "/v1/audio/speech": ("tts", {"input": "Hello"}),
    "/v1/images/generations": ("image", {"prompt": "A ledger, open on a desk"}),
    "/v1/images/edits": ("image", {"prompt": "In the evening", "image_url": "https://example.com/desk.png"}),
    "/v1/videos": ("video", {"prompt": "The pages of a ledger turn"}),
    "/credits/balance": ("", {}),
    "/topup/create/{rail}": ("", {"amount": 10, "currency": "USD"}),
}


def operations(document: Mapping[str, Any], models: Mapping[str, str]) -> dict[str, list[Operation]]:
    """By tag, as the document has them; a path that is there under /v1 too only once. models: one of each kind."""
    found: dict[str, list[Operation]] = {}
    paths = document["paths"]
    for path, verbs in paths.items():
        if f"/v1{path}" in paths:
            continue
        for verb, said in verbs.items():
            if verb != "head":
                found.setdefault(next(iter(said.get("tags", ())), "other"), []).append(
                    _operation(verb, path, said, models)
                )
    return found


def _operation(verb: str, path: str, said: Mapping[str, Any], models: Mapping[str, str]) -> Operation:
    parameters = tuple((each["name"], each["in"], each.get("description", "")) for each in said.get("parameters", ()))
    kind, body = _BODIES.get(path, ("", None)) if verb == "post" else ("", None)
    named = {"model": models.get(kind, "MODEL")} if kind else {}
    return Operation(
        verb.upper(),
        path,
        said.get("summary", ""),
        "security" not in said,
        "requestBody" in said,
        parameters,
        orjson.dumps({**named, **body}, option=orjson.OPT_INDENT_2).decode() if body is not None else "",
        (verb.upper(), path) in ask.CAN_BE_ASKED,
    )


async def api(visit: Visit) -> Response:
    models = visit.site.once("examples", (visit.state.catalog, shelf.today()), lambda: _examples(visit))
    groups = visit.site.once("operations", models, lambda: operations(visit.site.document(), models))
    return visit.page(
        "api_docs.html",
        groups=groups,
        chapters=[prose.chapter(name) for name in prose.CHAPTERS],
        model=models.get("chat", "MODEL"),
    )


def _examples(visit: Visit) -> dict[str, str]:
    """A model of each kind that can be called now."""
    models = shelf.callable_now(visit.state.catalog)
    return {model.kind: model.id for model in (*reversed(models), *reversed(shelf.featured(models, None)))}


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
