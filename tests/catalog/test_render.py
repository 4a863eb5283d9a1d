"""The list of models: fields that PPQ's, OpenRouter's and OpenAI's clients require, exact amounts, cached bytes."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from perquery import catalog, config, money
from perquery.calls import INPUT_UNITS, Usage
from perquery.catalog import Catalog, render
from perquery.errors import BadRequest, ModelNotFound
from tests.catalog.conftest import REVIEWED


def data(page: bytes) -> list[dict[str, Any]]:
    parsed: list[dict[str, Any]] = money.from_json(page)["data"]
    return parsed


@pytest.fixture(scope="module")
def listed(full: Catalog) -> list[dict[str, Any]]:
    return data(render.Pages(full).page(REVIEWED))


def test_the_root_is_openais(full: Catalog) -> None:
    parsed = json.loads(render.Pages(full).page(REVIEWED))
    assert parsed["object"] == "list" and parsed["total_count"] == len(parsed["data"])


def test_every_entry_has_what_ppqs_clients_require(listed: list[dict[str, Any]]) -> None:
    for entry in listed:
        assert isinstance(entry["id"], str) and isinstance(entry["name"], str)
        assert type(entry["created_at"]) is int and entry["created_at"] > 1_000_000_000_000
        assert type(entry["context_length"]) is int
        assert entry["type"] == "chat"
        assert isinstance(entry["supported_parameters"], list)
        for number in (entry["pricing"]["input_per_1M_tokens"], entry["pricing"]["output_per_1M_tokens"]):
            assert isinstance(number, int | Decimal)
        assert entry["pricing"]["api"].keys() == entry["pricing"]["ui"].keys() == {"input_per_1M", "output_per_1M"}


def test_every_entry_has_what_openai_and_openrouter_clients_require(listed: list[dict[str, Any]]) -> None:
    for entry in listed:
        assert entry["object"] == "model" and entry["created"] * 1_000 == entry["created_at"] and entry["owned_by"]
        assert isinstance(entry["pricing"]["prompt"], str) and isinstance(entry["pricing"]["completion"], str)
        assert {"modality", "input_modalities", "output_modalities"} <= entry["architecture"].keys()
        assert entry["top_provider"]["max_completion_tokens"] > 0


def test_no_amount_has_an_exponent(full: Catalog) -> None:
    for entry in data(render.Pages(full).page(REVIEWED, everything=True)):
        plain = money.json(entry["pricing"]["prompt"]).decode() + str(entry["pricing"]["input_per_1M_tokens"])
        assert "e" not in plain.lower()


def test_the_shown_price_is_the_charged_price(full: Catalog) -> None:
    shown = render.entry(full.models["anthropic/claude-sonnet-4.5"])
    # $3 and $15 per million, times 1.05.
    assert shown["pricing"]["prompt"] == "0.00000315"
    assert money.json(shown["pricing"]["output_per_1M_tokens"]) == b"15.75"


def test_longer_prompts_are_shown_as_overrides(full: Catalog) -> None:
    (override,) = render.entry(full.models["anthropic/claude-sonnet-4.5"])["pricing"]["overrides"]
    assert (override["min_prompt_tokens"], override["prompt"]) == (200_001, "0.0000063")


def test_no_route_charges_more_than_is_shown(full: Catalog) -> None:
    for model in full.listing(REVIEWED):
        pricing = render.entry(model)["pricing"]
        shown = Decimal(pricing["prompt"]) * 1_000 + Decimal(pricing["completion"]) * 1_000
        shown += Decimal(pricing.get("request", "0"))
        for route in model.routes:
            if route.bills_reported_cost:
                continue
            charged = catalog.cost(route, Usage({"input": 1_000, "output": 1_000})).charged_nano
            assert Decimal(charged) <= shown * 10**9 + 1, (model.id, route.provider)


def test_the_dearest_of_the_active_routes_is_shown(openrouter: Catalog, full: Catalog) -> None:
    model = full.models["meta-llama/llama-3.3-70b-instruct"]
    alone = openrouter.models["meta-llama/llama-3.3-70b-instruct"]
    assert Decimal(render.entry(model)["pricing"]["prompt"]) > Decimal(render.entry(alone)["pricing"]["prompt"])


def test_the_page_is_rendered_once_a_day(openrouter: Catalog) -> None:
    pages = render.Pages(openrouter)
    first = pages.page(REVIEWED)
    assert pages.page(REVIEWED, " chat ") is first
    assert pages.page(date(2026, 11, 24)) is not first


def test_a_model_leaves_the_list_on_its_last_day(openrouter: Catalog) -> None:
    pages = render.Pages(openrouter)
    assert b'"id":"anthropic/claude-sonnet-4.5"' in pages.page(date(2026, 11, 29))
    assert b'"id":"anthropic/claude-sonnet-4.5"' not in pages.page(date(2026, 11, 30))


def test_everything_adds_the_rest_with_reasons(openrouter: Catalog) -> None:
    rest = [each for each in data(render.Pages(openrouter).page(REVIEWED, everything=True)) if "available" in each]
    assert rest and all(each["available"] is False and each["unavailable_reason"] for each in rest)


@pytest.mark.parametrize(
    ("type", "listed"), [("image", False), ("image,video", False), ("all", True), ("chat,image", True)]
)
def test_types(openrouter: Catalog, type: str, listed: bool) -> None:
    assert (data(render.Pages(openrouter).page(REVIEWED, type)) != []) is listed


@pytest.mark.parametrize("type", ["", "chats", "chat,", "x" * 10_000])
def test_unknown_types_are_refused(openrouter: Catalog, type: str) -> None:
    with pytest.raises(BadRequest) as caught:
        render.Pages(openrouter).page(REVIEWED, type)
    assert caught.value.param == "type" and len(caught.value.message) < 300


def test_one_model_by_any_name(openrouter: Catalog) -> None:
    assert json.loads(render.one(openrouter, "claude-sonnet-4-5", REVIEWED))["id"] == "anthropic/claude-sonnet-4.5"


def test_one_model_that_cannot_be_called_says_why(openrouter: Catalog) -> None:
    shown = json.loads(render.one(openrouter, "grok-3-mini", REVIEWED))
    assert shown["available"] is False and "xai" in shown["unavailable_reason"]


def test_one_unknown_model_is_not_found(openrouter: Catalog) -> None:
    with pytest.raises(ModelNotFound):
        render.one(openrouter, "nonsense", REVIEWED)


def test_a_markup_that_does_not_divide_rounds_the_shown_price_up(empty: Path) -> None:
    own = config.ModelSetting.model_validate(
        {
            "id": "stub",
            "routes": [{"provider": "scripted", "model": "stub"}],
            "price_usd_per_million": {"input": "0.000001", "output": "1"},
            "markup": "1.000000000000000001",
        }
    )
    made = catalog.build(config.Settings(data=empty, models=(own,)), ["scripted"], today=REVIEWED)
    assert render.entry(made.models["stub"])["pricing"]["prompt"] == "0.000000000001000001"


def test_every_input_unit_of_the_list_is_a_known_one() -> None:
    assert {"input", "cache_read", "cache_write_5m"} <= set(INPUT_UNITS)
