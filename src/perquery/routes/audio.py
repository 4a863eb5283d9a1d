"""GET /v1/audio/models and /v1/audio/voices: what hears and what speaks here, its voices, its price. Free."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from perquery import money
from perquery.calls import Unit
from perquery.catalog import render
from perquery.catalog.models import Model
from perquery.catalog.price import caller_atto
from perquery.catalog.voices import Voices
from perquery.routes.answers import MoneyJSON

# (unit, so many of it, what that is called): how each kind's price is told, by the first that a model has.
_TOLD: Final[dict[str, tuple[tuple[Unit, int, str], ...]]] = {
    "stt": (("second", 60, "minute"), ("audio_input", 10**6, "1M tokens of sound")),
    "tts": (("character", 1_000, "1K characters"), ("audio_output", 10**6, "1M tokens of sound")),
}
_FIRST: Final = ("deepgram/nova-3", "deepgram/aura-2")
_ATTO_DIGITS: Final = 18


async def list_models(request: Request) -> Response:
    """Models for speech that can be called now, in PPQ's form."""
    voices: Voices = request.state.voices
    data = [_shown(model, voices) for model in _models(request)]
    return MoneyJSON({"object": "list", "data": data, "total_count": len(data)})


async def list_voices(request: Request) -> Response:
    """Voices that can be spoken with now; `?language=en` and `?model=…` choose among them."""
    voices: Voices = request.state.voices
    wanted = request.query_params.get("model", "")
    ids = [model.id for model in _models(request) if model.kind == "tts"]
    if wanted:
        ids = [id for id in ids if id == request.state.catalog.describe(wanted, _today())[0].id]
    data = voices.listing(ids, request.query_params.get("language", ""))
    return MoneyJSON({"object": "list", "data": data, "voices": data, "total_count": len(data)})


def _today() -> Any:
    return datetime.now(UTC).date()


def _models(request: Request) -> Iterator[Model]:
    """PPQ's defaults first."""
    found = request.state.catalog.listing(_today(), "stt,tts")
    yield from sorted(found, key=lambda model: (model.id not in _FIRST, model.kind, model.id))


def _shown(model: Model, voices: Voices) -> dict[str, Any]:
    unit, count, name = next((told for told in _TOLD[model.kind] if told[0] in model.price.at(0)), _TOLD[model.kind][0])
    charged = money.number(max(caller_atto(route, unit) for route in model.routes) * count, _ATTO_DIGITS)
    base = model.price.at(0).get(unit, 0) * 10**6 * count
    prices = {"base_price": money.number(base, _ATTO_DIGITS), "api_price": charged, "ui_price": charged}
    limits = {"characters_max": voices.characters_max(model.id)} if model.kind == "tts" else {}
    return render.entry(model) | prices | {"price_unit": name} | limits
