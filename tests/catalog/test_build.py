"""The catalogue put together: prices, routes and their order, markups, the operator's models, the sandbox."""

from __future__ import annotations

import asyncio
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from perquery import catalog, config
from perquery.calls import Price, Route, Usage
from perquery.catalog import Catalog
from perquery.errors import BadRequest, ModelNotFound
from perquery.money import Ratio, pico_per_unit
from tests.catalog.conftest import REVIEWED

# Headline models at list price, USD per million tokens, as the vendors publish them; from the vendors' pages and
# two independent price tables, not from the code under test.
HEADLINES = [
    ("anthropic", "anthropic/claude-opus-4.5", "5", "25"),
    ("anthropic", "anthropic/claude-opus-4.6", "5", "25"),
    ("anthropic", "anthropic/claude-opus-4.7", "5", "25"),
    ("anthropic", "anthropic/claude-opus-4.8", "5", "25"),
    ("anthropic", "anthropic/claude-opus-5", "5", "25"),
    ("anthropic", "anthropic/claude-opus-5.5", "4", "20"),
    ("anthropic", "anthropic/claude-sonnet-4.5", "3", "15"),
    ("anthropic", "anthropic/claude-sonnet-4.6", "3", "15"),
    ("anthropic", "anthropic/claude-sonnet-5", "2", "10"),
    ("anthropic", "anthropic/claude-sonnet-5.5", "2", "10"),
    ("anthropic", "anthropic/claude-haiku-4.5", "1", "5"),
    ("anthropic", "anthropic/claude-haiku-5.5", "0.1", "0.5"),
    ("anthropic", "anthropic/claude-fable-5", "10", "50"),
    ("openai", "openai/gpt-4o", "2.5", "10"),
    ("openai", "openai/gpt-4o-mini", "0.15", "0.6"),
    ("openai", "openai/gpt-4.1", "2", "8"),
    ("openai", "openai/gpt-4.1-mini", "0.4", "1.6"),
    ("openai", "openai/gpt-5", "1.25", "10"),
    ("openai", "openai/gpt-5-mini", "0.25", "2"),
    ("openai", "openai/gpt-5.1", "1.25", "10"),
    ("openai", "openai/gpt-5.2", "1.75", "14"),
    ("openai", "openai/gpt-5.2-pro", "21", "168"),
    ("openai", "openai/gpt-5.3-codex", "1.75", "14"),
    ("openai", "openai/gpt-5.5-pro", "30", "180"),
    ("openai", "openai/gpt-5.4", "2.5", "15"),
    ("openai", "openai/gpt-5.4-mini", "0.75", "4.5"),
    ("openai", "openai/gpt-5.5", "5", "30"),
    ("openai", "openai/gpt-6-sol", "2", "10"),
    ("openai", "openai/gpt-6-luna", "0.1", "0.5"),
    ("openai", "openai/gpt-6-astra", "10", "50"),
    ("openai", "openai/gpt-6.1-terra", "1", "5"),
    ("openai", "openai/o3", "2", "8"),
    ("openai", "openai/gpt-5-search-api", "1.25", "10"),
    ("google", "google/gemini-2.5-pro", "1.25", "10"),
    ("google", "google/gemini-2.5-flash", "0.3", "2.5"),
    ("google", "google/gemini-2.5-flash-lite", "0.1", "0.4"),
    ("google", "google/gemini-3-flash-preview", "0.5", "3"),
    ("google", "google/gemini-3.1-pro-preview", "2", "12"),
    ("google", "google/gemini-3.5-flash", "1.5", "9"),
    ("xai", "x-ai/grok-4.3", "1.25", "2.5"),
    ("xai", "x-ai/grok-4.5", "2", "6"),
    ("xai", "x-ai/grok-4.7", "2", "6"),
    ("mistral", "mistralai/mistral-large-2512", "0.5", "1.5"),
    ("mistral", "mistralai/codestral-2508", "0.3", "0.9"),
    ("mistral", "mistralai/mistral-medium-3-5", "1.5", "7.5"),
    ("deepseek", "deepseek/deepseek-v4-pro", "1.32", "3.96"),
    ("deepseek", "deepseek/deepseek-v4.1-flash", "0.3", "1.2"),
    ("moonshot", "moonshotai/kimi-k3", "3", "15"),
    ("zai", "z-ai/glm-5.3", "1.4", "4.4"),
    ("groq", "meta-llama/llama-3.3-70b-instruct", "0.59", "0.79"),
    ("perplexity", "perplexity/sonar-pro", "3", "15"),
    ("dashscope", "qwen/qwen-max", "1.6", "6.4"),
]


@pytest.mark.parametrize(("host", "id", "usd_in", "usd_out"), HEADLINES, ids=[row[1] for row in HEADLINES])
def test_headline_prices(full: Catalog, host: str, id: str, usd_in: str, usd_out: str) -> None:
    table = next(route for route in full.models[id].routes if route.provider == host).price.at(0)
    assert (table["input"], table["output"]) == (pico_per_unit(usd_in), pico_per_unit(usd_out))


def test_one_reseller_key_makes_five_hundred_models_callable(openrouter: Catalog) -> None:
    assert len(list(openrouter.listing(REVIEWED))) >= 500


def test_more_than_five_hundred_are_sold_offline(full: Catalog) -> None:
    assert sum(not model.free for model in full.listing(REVIEWED)) >= 500


def test_nothing_is_sold_without_a_price(full: Catalog) -> None:
    for model in full.models.values():
        for route in model.known_routes:
            for _, table in route.price.tiers:
                priced = table["input"] > 0 and table["output"] > 0 if model.kind == "chat" else any(table.values())
                assert model.free or priced, model.id


def test_only_the_resellers_free_models_are_free(full: Catalog) -> None:
    free = [model for model in full.models.values() if model.free and model.kind != "moderation"]
    assert free and all(model.id.endswith(":free") for model in free)


@pytest.mark.parametrize("id", ["deepseek/deepseek-chat", "deepseek/deepseek-r1"])
def test_retired_direct_names_are_not_routes(full: Catalog, id: str) -> None:
    assert "deepseek" not in {route.provider for route in full.models[id].known_routes}


def test_a_search_model_has_its_fee(full: Catalog) -> None:
    (route,) = full.models["openai/gpt-5-search-api"].routes
    assert catalog.cost(route, Usage({})).upstream_pico == 10**10


@pytest.mark.parametrize(
    ("id", "responses"),
    [
        ("openai/gpt-5.2-pro", "only"),
        ("openai/gpt-5.5-pro", "only"),
        ("openai/gpt-5.3-codex", "only"),
        ("openai/gpt-5.2", "tools"),
        ("openai/gpt-5.4-mini", "tools"),
        ("openai/gpt-6.1-terra", "tools"),
        ("openai/gpt-5.1", ""),
        ("openai/gpt-4o", ""),
    ],
)
def test_what_openai_answers_in_responses_alone_the_reseller_answers_in_chat(
    full: Catalog, id: str, responses: str
) -> None:
    routes = {route.provider: route.responses for route in full.models[id].routes}
    assert routes == {"openai": responses, "openrouter": ""}


@pytest.mark.parametrize("id", ["openai/gpt-5-pro", "openai/o3-pro"])
def test_models_that_do_not_stream_at_their_vendor_are_the_resellers(full: Catalog, id: str) -> None:
    assert [route.provider for route in full.models[id].routes] == ["openrouter"]


def test_the_vendor_comes_first_and_the_reseller_last(full: Catalog) -> None:
    order = [route.provider for route in full.models["z-ai/glm-5.3"].routes]
    assert (order[0], order[-1]) == ("zai", "openrouter") and len(order) >= 4


def test_hosts_between_are_ordered_by_price(full: Catalog) -> None:
    middle = full.models["openai/gpt-oss-120b"].routes[:-1]
    prices = [route.price.at(0)["input"] + route.price.at(0)["output"] for route in middle]
    assert len(prices) >= 4 and prices == sorted(prices)


@pytest.mark.parametrize(
    ("id", "host", "model"),
    [
        ("anthropic/claude-sonnet-4.5", "anthropic", "claude-sonnet-4-5"),
        ("anthropic/claude-sonnet-4.5", "openrouter", "anthropic/claude-sonnet-4.5"),
        ("z-ai/glm-5.2", "fireworks", "accounts/fireworks/models/glm-5p2"),
        ("meta-llama/llama-3.3-70b-instruct", "groq", "llama-3.3-70b-versatile"),
        ("openai/gpt-oss-120b", "huggingface", "openai/gpt-oss-120b:cerebras"),
        ("mistralai/mistral-medium-3-5", "mistral", "mistral-medium-2604"),
    ],
)
def test_each_host_is_asked_by_its_own_name(full: Catalog, id: str, host: str, model: str) -> None:
    assert (host, model) in {(route.provider, route.model) for route in full.models[id].routes}


@pytest.mark.parametrize(
    ("id", "host", "hides"),
    [
        ("openai/o3", "openai", True),
        ("openai/gpt-5", "openai", True),
        ("openai/gpt-4o", "openai", False),
        ("google/gemini-2.5-pro", "google", True),
        ("x-ai/grok-4.5", "xai", True),
        ("perplexity/sonar-pro", "perplexity", True),
        ("anthropic/claude-sonnet-4.5", "anthropic", False),
        ("deepseek/deepseek-v4-pro", "deepseek", False),
    ],
)
def test_hidden_output(full: Catalog, id: str, host: str, hides: bool) -> None:
    assert next(route for route in full.models[id].routes if route.provider == host).hides_output is hides


def test_only_models_marked_so_bill_the_reported_cost(full: Catalog) -> None:
    marked = {m.id for m in full.models.values() if any(route.bills_reported_cost for route in m.routes)}
    assert "perplexity/sonar" in marked and "google/gemini-3-pro-image" in marked
    assert not any(id.startswith(("anthropic/", "x-ai/", "meta-llama/")) or id == "openai/gpt-5" for id in marked)


@pytest.mark.parametrize(
    ("id", "parameter"),
    [
        ("openai/o3", "temperature"),
        ("openai/gpt-5", "stop"),
        ("anthropic/claude-opus-4.7", "temperature"),
        ("anthropic/claude-sonnet-5.5", "top_k"),
        ("x-ai/grok-4.5", "stop"),
    ],
)
def test_refused_parameters(full: Catalog, id: str, parameter: str) -> None:
    model = full.models[id]
    assert parameter in model.refused_parameters and parameter not in model.supported_parameters


def test_older_claudes_still_take_a_temperature(full: Catalog) -> None:
    assert "temperature" in full.models["anthropic/claude-sonnet-4.5"].supported_parameters


@pytest.mark.parametrize(
    ("id", "longest"),
    [
        ("anthropic/claude-sonnet-4.5", 64_000),
        ("anthropic/claude-opus-4.7", 128_000),
        ("openai/gpt-4o", 16_384),
        ("openai/gpt-5", 128_000),
        ("openai/o3", 100_000),
        ("google/gemini-2.5-pro", 65_535),
    ],
)
def test_longest_answers(full: Catalog, id: str, longest: int) -> None:
    assert full.models[id].output_tokens_max == longest


@pytest.mark.parametrize(
    ("id", "tokens"),
    [
        ("anthropic/claude-sonnet-4.5", 200_000),
        ("anthropic/claude-opus-4.6", 1_000_000),
        ("google/gemini-2.5-pro", 1_048_576),
        ("openai/gpt-4o", 128_000),
        ("meta-llama/llama-3-8b-instruct", 8_192),
        ("01-ai/yi-large", 131_072),  # nothing is known of it
    ],
)
def test_contexts(full: Catalog, id: str, tokens: int) -> None:
    assert full.models[id].context_tokens == tokens


def test_every_model_is_complete(full: Catalog) -> None:
    for model in full.models.values():
        assert model.name and model.known_routes and model.price.tiers
        assert model.input_modalities and model.output_modalities
        if model.kind == "chat":
            assert 0 < model.output_tokens_max <= model.context_tokens
            assert "text" in model.input_modalities and "text" in model.output_modalities


def build(settings: config.Settings, *active: str, on: date = REVIEWED) -> Catalog:
    return catalog.build(settings, active, today=on)


def stub(**fields: object) -> config.ModelSetting:
    given = {
        "id": "stub-model",
        "routes": [{"provider": "scripted", "model": "stub"}],
        "price_usd_per_million": {"input": "1.00", "output": "2.00"},
        **fields,
    }
    return config.ModelSetting.model_validate({key: value for key, value in given.items() if value is not None})


def test_the_operators_own_model(empty: Path) -> None:
    made = build(config.Settings(data=empty, models=(stub(aliases=["my-stub"]),)), "scripted")
    found = made.find("My-Stub", REVIEWED)
    assert found.model.routes == (
        Route("scripted", "stub", Price(((0, {"input": 1_000_000, "output": 2_000_000}),), "settings"), Ratio(21, 20)),
    )
    assert (found.model.context_tokens, found.model.output_tokens_max) == (128_000, 8_192)


def test_the_models_markup_beats_the_providers_and_that_the_houses(empty: Path) -> None:
    settings = config.Settings(
        data=empty,
        markup=Decimal("1.10"),
        providers=(config.Provider(name="anthropic", markup=Decimal("1.20")),),
        models=(config.ModelSetting(id="gpt-4o", markup=Decimal("1.30")),),
    )
    made = build(settings, "anthropic", "openai", "openrouter")
    markups = {
        (id, route.provider): route.markup
        for id in ("anthropic/claude-sonnet-4.5", "openai/gpt-4o", "openai/gpt-4.1")
        for route in made.models[id].routes
    }
    assert markups["openai/gpt-4.1", "openai"] == Ratio(11, 10)
    assert markups["anthropic/claude-sonnet-4.5", "anthropic"] == Ratio(6, 5)
    assert markups["anthropic/claude-sonnet-4.5", "openrouter"] == Ratio(11, 10)
    assert markups["openai/gpt-4o", "openai"] == markups["openai/gpt-4o", "openrouter"] == Ratio(13, 10)


def test_a_price_of_the_settings_replaces_the_tables(empty: Path) -> None:
    own = config.ModelSetting.model_validate(
        {"id": "openai/gpt-4o", "price_usd_per_million": {"input": "7", "output": "8", "cache_read": "1"}}
    )
    model = build(config.Settings(data=empty, models=(own,)), "openai", "openrouter").models["openai/gpt-4o"]
    assert {route.provider for route in model.routes} == {"openai", "openrouter"}
    assert all(
        route.price.at(0) == {"input": 7_000_000, "output": 8_000_000, "cache_read": 1_000_000}
        for route in model.routes
    )
    assert model.context_tokens == 128_000 and model.output_tokens_max == 16_384


def test_routes_of_the_settings_find_their_price_in_the_table(empty: Path) -> None:
    own = stub(id="fast", routes=[{"provider": "groq", "model": "llama-3.3-70b-versatile"}], price_usd_per_million=None)
    model = build(config.Settings(data=empty, models=(own,)), "groq").models["fast"]
    assert model.routes[0].price.at(0)["input"] == 590_000


def test_an_own_model_may_take_over_an_alias(empty: Path) -> None:
    made = build(config.Settings(data=empty, models=(stub(id="llama-3"),)), "scripted", "openrouter")
    assert made.find("llama-3", REVIEWED).model.id == "llama-3"
    assert made.find("meta-llama/llama-3.3-70b-instruct", REVIEWED).model.id == "meta-llama/llama-3.3-70b-instruct"


def test_one_name_for_several_works_each_at_its_own_price(empty: Path) -> None:
    drawing = stub(kind="image", price_usd_per_million={"image": "40000"})
    made = build(config.Settings(data=empty, models=(stub(), drawing)), "scripted")
    prices = {kind: made.find("stub-model", REVIEWED, kind).model.price.at(0) for kind in ("chat", "image")}
    assert prices == {"chat": {"input": 1_000_000, "output": 2_000_000}, "image": {"image": 40_000_000_000}}
    assert made.find("stub-model", REVIEWED, None).model.kind == "chat"
    with pytest.raises(BadRequest, match="other work"):
        made.find("stub-model", REVIEWED, "tts")
    for kind in ("chat", "image"):
        assert [model.kind for model in made.listing(REVIEWED, kind) if model.id == "stub-model"] == [kind]
    assert [model.kind for model in made.listing(REVIEWED, "all") if model.id == "stub-model"] == ["chat"]


def test_other_work_under_a_name_of_the_catalogue_leaves_that_as_it_is(empty: Path) -> None:
    own = stub(id="openai/gpt-4o", kind="embedding", price_usd_per_million={"input": "0.01"})
    made = build(config.Settings(data=empty, models=(own,)), "scripted", "openai")
    assert [route.provider for route in made.find("gpt-4o", REVIEWED, "embedding").model.routes] == ["scripted"]
    chat = made.find("gpt-4o", REVIEWED).model
    assert [route.provider for route in chat.routes] == ["openai"] and chat.price.at(0)["input"] == 2_500_000


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (config.ModelSetting(id="nowhere"), "needs routes and a price"),
        (stub(price_usd_per_million=None), "needs price_usd_per_million"),
        (stub(price_usd_per_million={"input": "0", "output": "1"}), "above 0"),
        (stub(price_usd_per_million={"input": "1", "output": "1", "cache_read": "-1"}), "above 0"),
        (stub(price_usd_per_million={"input": "0.0000001", "output": "1"}), "more than 6 digits"),
        (stub(markup="0"), "above 0"),
    ],
)
def test_a_model_that_cannot_be_priced_is_a_configuration_error(
    empty: Path, own: config.ModelSetting, message: str
) -> None:
    with pytest.raises(config.ConfigError, match=message):
        build(config.Settings(data=empty, models=(own,)), "scripted")


def test_further_routes_come_last(empty: Path) -> None:
    further = Route("relay", "x", Price(((0, {"input": 1, "output": 1}),)))
    made = catalog.build(
        config.Settings(data=empty),
        ["openrouter"],
        extra_routes=lambda id: [further] if id == "openai/gpt-4o" else [],
        today=REVIEWED,
    )
    assert [route.provider for route in made.models["openai/gpt-4o"].routes] == ["openrouter", "relay"]


def test_the_sandbox_answers_every_model_locally_at_its_own_price(sandbox: Catalog, full: Catalog) -> None:
    for model in sandbox.listing(REVIEWED):
        (route,) = model.routes
        assert (route.provider, route.model) == ("local", "smollm2-135m-instruct")
        known = full.models[model.id].known_routes
        assert route.price.at(0)["input"] == max(each.price.at(0)["input"] for each in known)


def test_the_sandbox_charges_the_markup(sandbox: Catalog) -> None:
    (route,) = sandbox.models["anthropic/claude-sonnet-4.5"].routes
    assert catalog.cost(route, Usage({"input": 1_000, "output": 100})).charged_nano == 4_725_000


def test_the_sandboxs_own_model_is_priced(sandbox: Catalog) -> None:
    model = sandbox.find(catalog.LOCAL_ID, REVIEWED).model
    assert (model.context_tokens, model.output_tokens_max) == (2_048, 1_024)
    assert model.price.at(0) == {"input": 20_000, "output": 60_000}


def test_in_the_sandbox_an_own_model_keeps_its_route(empty: Path) -> None:
    made = build(config.Settings(data=empty, mode="sandbox", models=(stub(),)), "local", "scripted")
    assert [route.provider for route in made.models["stub-model"].routes] == ["scripted"]
    assert [route.provider for route in made.models["openai/gpt-4o"].routes] == ["local"]


def test_without_the_local_model_the_sandbox_serves_nothing_else(empty: Path) -> None:
    made = build(config.Settings(data=empty, mode="sandbox", models=(stub(),)), "scripted")
    assert [model.id for model in made.listing(REVIEWED)] == ["stub-model"]


def test_outside_the_sandbox_the_local_model_stands_in_for_nothing(openrouter: Catalog) -> None:
    with pytest.raises(ModelNotFound):
        openrouter.find("smollm2-135m-instruct", REVIEWED)


def test_no_catalogue_reaches_for_the_network(empty: Path) -> None:
    """Building is synchronous and runs inside a loop without touching it."""

    async def inside() -> Catalog:
        return build(config.Settings(data=empty), "openrouter")

    assert asyncio.run(inside()).models
