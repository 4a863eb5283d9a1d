"""What the trades that draw have in common: the wish and the recipe behind a piece of work, and the answer's form.

A model of the operator's own, for which nobody wrote a recipe, is asked as OpenAI's are. It must never decide money.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

from perquery.calls import Route, Unit, Usage, Work
from perquery.catalog import recipes
from perquery.catalog.recipes import Recipe, Schema
from perquery.dialects.images import Wish
from perquery.errors import BadRequest, UpstreamError
from perquery.providers.wording import counted, most

SERVED_TOKENS_MAX: Final = 16_000  # of one image, where nothing is known of the model
_OWN: Final = Schema(
    size="text",
    fields={name: name for name in ("n", "quality", "output_format", "background", "seed", "negative_prompt")},
    image="images",
    n_max=10,
)


def wish_of(work: Work) -> Wish:
    wish: Wish = work.body["wish"]
    return wish


def recipe_of(route: Route) -> Recipe:
    """How the route's model is asked."""
    found = recipes.known().get((route.provider, route.model))
    if found is not None and found.making == "image":
        return found
    own = {"": SERVED_TOKENS_MAX} if "image_output" in route.price.at(0) else {}
    model = route.model
    return Recipe("image", model, model, "openai", _OWN, route.price, "settings", date.min, model, model, own)


def most_at(route: Route, wish: Wish) -> Mapping[Unit, int]:
    """The most that the wish may count at the route. Raises BadRequest for what its model cannot do."""
    return most(recipe_of(route), wish)


def drawn(recipe: Recipe, wish: Wish, sizes: Sequence[tuple[int, int] | None]) -> Usage:
    """What images of these sizes count, where their model is not paid by the token."""
    return Usage(counted(recipe, wish, list(sizes)))


def image(*, url: str = "", data: str = "", kind: str = "image/png", told: Any = None) -> dict[str, Any]:
    """One image of an answer. data: base64."""
    made: dict[str, Any] = {"url": url} if url else {"b64_json": data}
    made["content_type"] = kind
    return made | ({"revised_prompt": told} if isinstance(told, str) else {})


def as_wanted(images: Sequence[dict[str, Any]], wish: Wish) -> list[dict[str, Any]]:
    """The images as the caller wants them. Bytes have a URL too, unless only they are wanted: clients of PPQ look for
    one, those of OpenAI for the bytes.
    """
    shown = []
    for one in images:
        if "b64_json" in one and wish.wanted != "b64_json":
            one = one | {"url": f"data:{one['content_type']};base64,{one['b64_json']}"}
            if wish.wanted == "url":
                del one["b64_json"]
        shown.append(one)
    return shown


def held_back(told: str) -> UpstreamError:
    """The upstream drew nothing because of what was asked for."""
    return UpstreamError("refused", told or "nothing was drawn", status=400, code="content_policy_violation")


def inline(url: str, model: str) -> tuple[str, str]:
    """(type, base64) of a data URL. Raises BadRequest for another."""
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise BadRequest(f"{model} takes images as data URLs only.", param="image")
    return head.removeprefix("data:").removesuffix(";base64"), data
