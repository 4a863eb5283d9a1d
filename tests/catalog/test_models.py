"""Finding a model: names, suffixes, retirements, what is not active; and the lists."""

from __future__ import annotations

import re
from datetime import date, timedelta

import pytest

from perquery.catalog import Catalog
from perquery.catalog.models import is_dearer
from perquery.errors import BadRequest, ModelNotFound
from tests.catalog.conftest import REVIEWED


@pytest.mark.parametrize(
    ("name", "id"),
    [
        # The names in PPQ's own API description, as it writes them.
        ("claude-sonnet-4-5", "anthropic/claude-sonnet-4.5"),
        ("GPT-5", "openai/gpt-5"),
        ("GPT-4o", "openai/gpt-4o"),
        ("o3", "openai/o3"),
        ("o4-mini", "openai/gpt-5.6-luna"),
        ("Claude Opus 4.6", "anthropic/claude-opus-4.6"),
        ("Claude Sonnet 4.6", "anthropic/claude-sonnet-4.6"),
        ("Claude Sonnet 4.5", "anthropic/claude-sonnet-4.5"),
        ("Claude Haiku 4.5", "anthropic/claude-haiku-4.5"),
        ("Gemini 2.5 Pro", "google/gemini-2.5-pro"),
        ("Gemini 2.5 Flash", "google/gemini-2.5-flash"),
        ("Gemini 3 Pro", "google/gemini-3.1-pro-preview"),
        ("Grok 3", "x-ai/grok-4.3"),
        ("Grok 3 Mini", "x-ai/grok-3-mini"),
        ("Mistral Large", "mistralai/mistral-large-2512"),
        ("Codestral", "mistralai/codestral-2508"),
        ("Llama 3", "meta-llama/llama-3.3-70b-instruct"),
        ("Llama 3.1", "meta-llama/llama-3.1-70b-instruct"),
        ("Deepseek-R1", "deepseek/deepseek-r1"),
        ("Deepseek-V3", "deepseek/deepseek-chat"),
        ("Qwen 3", "qwen/qwen3-235b-a22b-2507"),
        # Short names, slugs, snapshots, vendors' own ids.
        ("claude-sonnet-4.6", "anthropic/claude-sonnet-4.6"),
        ("anthropic/claude-sonnet-4.5", "anthropic/claude-sonnet-4.5"),
        ("anthropic/claude-sonnet-4-5", "anthropic/claude-sonnet-4.5"),
        ("claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4.5"),
        ("claude-haiku-4-5-20251001", "anthropic/claude-haiku-4.5"),
        ("gpt-5.5", "openai/gpt-5.5"),
        ("openai/gpt-5.5", "openai/gpt-5.5"),
        ("gpt-4o-2024-11-20", "openai/gpt-4o"),
        ("glm-5.3", "z-ai/glm-5.3"),
        ("mistral-large-latest", "mistralai/mistral-large-2512"),
        ("mistralai/mistral-large", "mistralai/mistral-large"),
        ("~google/gemini-pro-latest", "google/gemini-3.1-pro-preview"),
        ("~anthropic/claude-sonnet-latest", "anthropic/claude-sonnet-5.5"),
        ("smollm2-135m-instruct", "local/smollm2-135m-instruct"),
    ],
)
def test_a_name_means_a_model(full: Catalog, sandbox: Catalog, name: str, id: str) -> None:
    for catalog in (full, sandbox):
        found = catalog.find(name, REVIEWED)
        assert (found.model.id, found.note_headers["x-perquery-model"]) == (id, id)


@pytest.mark.parametrize("suffix", ["nitro", "floor", "exacto", "thinking", "extended"])
def test_suffixes_are_accepted_and_told(full: Catalog, suffix: str) -> None:
    found = full.find(f"openai/gpt-4o:{suffix}", REVIEWED)
    assert (found.model.id, found.suffixes, found.online) == ("openai/gpt-4o", (suffix,), False)


def test_online_asks_for_a_search(full: Catalog) -> None:
    assert full.find("gpt-4o:online", REVIEWED).online


def test_free_never_makes_a_paid_model_free(full: Catalog) -> None:
    with pytest.raises(ModelNotFound, match="no free variant"):
        full.find("openai/gpt-4o:free", REVIEWED)


def test_free_is_a_model_of_its_own_where_there_is_one(openrouter: Catalog) -> None:
    found = openrouter.find("openai/gpt-oss-20b:free", REVIEWED)
    assert found.model.free and found.model.id == "openai/gpt-oss-20b:free"


def test_a_variant_that_is_a_model_of_its_own_is_found_whole(openrouter: Catalog) -> None:
    found = openrouter.find("qwen/qwen-plus-2025-07-28:thinking", REVIEWED)
    assert (found.model.id, found.suffixes) == ("qwen/qwen-plus-2025-07-28:thinking", ())


def test_an_unknown_name_is_told_its_nearest(full: Catalog) -> None:
    with pytest.raises(ModelNotFound) as caught:
        full.find("claude-sonet-4-5", REVIEWED)
    assert caught.value.code == "model_not_found"
    assert caught.value.details["nearest"][0] == "anthropic/claude-sonnet-4.5"
    assert len(caught.value.details["nearest"]) == 3


@pytest.mark.parametrize("name", ["", " ", ":", ":free", "/", "x" * 100_000, "a:b:c", "\x00", "models/../etc", "ñ"])
def test_hostile_names_are_not_found(full: Catalog, name: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        full.find(name, REVIEWED)
    assert len(caught.value.message) < 600


def test_a_model_without_active_upstream_says_so(openrouter: Catalog) -> None:
    with pytest.raises(ModelNotFound, match="no upstream for it is active") as caught:
        openrouter.find("grok-3-mini", REVIEWED)
    assert caught.value.code == "model_unavailable"


def test_a_model_serves_until_the_day_before_its_end(full: Catalog) -> None:
    assert full.find("claude-sonnet-4-5", date(2026, 11, 29)).model.id == "anthropic/claude-sonnet-4.5"


def test_a_retired_model_is_replaced_and_said(full: Catalog) -> None:
    found = full.find("claude-sonnet-4-5", date(2026, 11, 30))
    assert found.note_headers == {
        "x-perquery-model": "anthropic/claude-sonnet-5.5",
        "x-perquery-replaced": "anthropic/claude-sonnet-4.5",
    }


@pytest.mark.parametrize(
    ("name", "successor"),
    [
        ("grok-4-fast", "x-ai/grok-4.3"),
        ("gpt-4.1-nano", "openai/gpt-6-luna"),
        ("grok-code-fast-1", "x-ai/grok-build-0.1"),
    ],
)
def test_a_retired_model_is_never_replaced_by_a_dearer_one(full: Catalog, name: str, successor: str) -> None:
    with pytest.raises(ModelNotFound, match=re.escape(successor)) as caught:
        full.find(name, REVIEWED)
    assert caught.value.code == "model_retired"


def test_no_replacement_is_dearer_on_any_day(full: Catalog) -> None:
    for day in range(0, 900, 30):
        on = REVIEWED + timedelta(days=day)
        for model in full.models.values():
            if model.expired(on) and model.replaced_by is not None:
                try:
                    found = full.find(model.id, on, None)
                except ModelNotFound:
                    continue
                assert not is_dearer(found.model, model)


def test_ends_of_life_that_the_vendors_announced(full: Catalog) -> None:
    ends = {id: model.expires_at for id, model in full.models.items() if model.expires_at is not None}
    assert ends["openai/o4-mini"] == date(2026, 10, 23)
    assert ends["openai/gpt-5"] == ends["openai/o3"] == date(2026, 12, 11)
    assert ends["anthropic/claude-sonnet-4.5"] == date(2026, 11, 30)
    assert ends["deepseek/deepseek-reasoner"] == date(2026, 7, 24)


def test_every_replacement_exists(full: Catalog) -> None:
    assert [model.id for model in full.models.values() if model.replaced_by not in {None, *full.models}] == []


def test_the_list_holds_only_what_can_be_served(openrouter: Catalog) -> None:
    listed = list(openrouter.listing(REVIEWED))
    assert all(model.routes and not model.expired(REVIEWED) for model in listed)


def test_the_rest_is_listed_with_its_reason(openrouter: Catalog) -> None:
    reasons = {model.id: reason for model, reason in openrouter.unavailable(REVIEWED)}
    assert reasons["openai/o4-mini"] == "retired on 2026-10-23; use openai/gpt-5.6-luna"
    assert reasons["x-ai/grok-3-mini"] == "needs an upstream that is not active here: xai"


def test_available_and_unavailable_are_the_whole(openrouter: Catalog) -> None:
    listed = {model.id for model in openrouter.listing(REVIEWED, "all")}
    rest = {model.id for model, _ in openrouter.unavailable(REVIEWED, "all")}
    assert listed | rest == set(openrouter.models) and not listed & rest


def test_a_type_is_a_kind_or_ppqs_word_for_several(full: Catalog) -> None:
    kinds = {model.kind for model in full.models.values()}
    assert {model.kind for model in full.listing(REVIEWED)} == {"chat"}
    assert {model.kind for model in full.listing(REVIEWED, "embedding")} == {"embedding"}
    assert {model.kind for model in full.listing(REVIEWED, "audio, embedding")} <= {"embedding", "stt", "tts"}
    assert {model.kind for model in full.listing(REVIEWED, "image, all")} == kinds


def test_a_model_is_found_for_its_own_work_alone(full: Catalog) -> None:
    assert full.find("text-embedding-3-small", REVIEWED, "embedding").model.kind == "embedding"
    assert full.find("text-embedding-3-small", REVIEWED, None).model.kind == "embedding"
    with pytest.raises(BadRequest, match="/v1/embeddings") as raised:
        full.find("text-embedding-3-small", REVIEWED)
    assert raised.value.code == "wrong_endpoint"


def test_a_model_can_be_described_though_it_cannot_be_called(openrouter: Catalog) -> None:
    model, reason = openrouter.describe("grok-3-mini", REVIEWED)
    assert model.id == "x-ai/grok-3-mini" and reason is not None


def test_every_model_is_found_by_its_own_id(full: Catalog) -> None:
    assert [id for id in full.models if full.by_name[id.lower()] != id] == []
