"""Guides to tools and the blog's posts, with a feed of the posts."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from email.utils import format_datetime
from typing import Final

from starlette.responses import Response

from perquery.errors import NotFound
from perquery.web import guard, prose
from perquery.web.prose import Text
from perquery.web.site import Page, Visit


async def listing(visit: Visit) -> Response:
    return visit.page("blog.html", guides=[prose.guide(slug) for slug in prose.GUIDES], posts=prose.posts())


async def one(visit: Visit) -> Response:
    text = _found(visit.request.path_params["slug"])
    return visit.page("text.html", text=text, body=prose.html(text, visit.api_url), part=("/blog", "Guides"))


def _found(slug: str) -> Text:
    if slug in prose.GUIDES:
        return prose.guide(slug)
    for post in prose.posts():
        if post.slug == slug:
            return post
    raise NotFound("There is no such page.")


async def feed(visit: Visit) -> Response:
    home = f'href="{visit.base_url}/'
    items = [
        (post, prose.html(post, visit.api_url).replace('href="/', home), _stamp(post.on))
        for post in prose.posts()
        if post.on
    ]
    values = {"items": items, "base_url": visit.base_url}
    body = visit.site.text("feed.xml", values)
    return Response(body, headers=guard.headers(secure=visit.secure), media_type="application/rss+xml; charset=utf-8")


def _stamp(on: date) -> str:
    return format_datetime(datetime.combine(on, time(), UTC))


PAGES: Final = (Page("/blog", listing), Page("/blog/feed.xml", feed), Page("/blog/{slug}", one))
