"""Every shape that callers speak × every dialect that upstreams speak × stream × what can be said.

Each cell asserts what is heard, what the upstream was asked, and what was billed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

import pytest
from openai.types.responses import ResponseOutputItem

from perquery.config import ModelSetting, PriceSetting, Provider, RouteSetting
from tests.dialects.vendor import holds
from tests.fire.bed import Account
from tests.fire.callers import CHAT, COMPLETIONS, MESSAGES, PIXEL, RESPONSES, SHAPES, Heard, asked, heard
from tests.fire.client import Answer, exchange
from tests.fire.hearth import Hearth, burning
from tests.scenes import SCENES, Scene
from tests.vendors import KEY, Vendors, vendors

DIALECTS: Final = ("openai-chat", "openai-responses", "anthropic", "gemini")
ANSWERED: Final = ("text", "tool", "schema", "thinking", "image", "search", "cached", "refusal", "length")
PLAIN: Final = ("text", "cached", "length")  # what legacy completions can say
NAMES: Final = {  # what each vendor calls its models: the dialects look at the names
    "openai-chat": "gpt-5.4-mini",
    "openai-responses": "gpt-5.4-mini",
    "anthropic": "claude-haiku-4-5",
    "gemini": "gemini-3.5-flash",
    "openai": "gpt-5.4-mini",
    "pro": "gpt-5.4-pro",
}
PATCHING: Final = [{"type": "custom", "name": "patch", "description": "Any text."}]
CELLS: Final = [
    pytest.param(shape, dialect, scene, stream, id=f"{shape}-{dialect}-{scene}-{'stream' if stream else 'plain'}")
    for shape in SHAPES
    for dialect in DIALECTS
    for scene in ANSWERED
    for stream in (False, True)
    if shape != COMPLETIONS or scene in PLAIN
]
USD: Final = PriceSetting(
    input=Decimal("1"), output=Decimal("2"), cache_read=Decimal("0.1"), cache_write_5m=Decimal("1.25")
)


def priced(scene: Scene) -> int:
    """Nano-USD, with the markup of 5 %."""
    centipico = scene.input * 100 + scene.cached * 10 + scene.written * 125 + (scene.output + scene.reasoning) * 200
    return -(-centipico * 10_000 * 105 // (1_000 * 100))


def counted(dialect: str, scene: str) -> Scene:
    """The scene as this vendor counts it: Gemini has no figure for what a cache took."""
    given = SCENES[scene]
    return Scene(**(vars(given) | {"written": 0})) if dialect == "gemini" else given


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hearth, Vendors]]:
    with vendors() as running:
        rows = [
            Provider(name=dialect, dialect=dialect, base_url=running.base_url(dialect), api_keys=(KEY,))
            for dialect in DIALECTS
        ]
        rows.append(Provider(name="openai", base_url=running.base_url("openai-chat"), api_keys=(KEY,)))
        models = [
            ModelSetting(
                id=f"by-{name}",
                routes=(RouteSetting(provider="openai" if name == "pro" else name, model=NAMES[name]),),
                price_usd_per_million=USD,
            )
            for name in (*DIALECTS, "openai", "pro")
        ]
        with burning(tmp_path_factory.mktemp("matrix"), models=models, others=rows) as hearth:
            yield hearth, running


async def told(hearth: Hearth, account: Account, shape: str, body: dict[str, Any]) -> Answer:
    headers = {"authorization": f"Bearer {account.key}"}
    async with exchange(hearth.bed.port, f"/v1/{shape}", body, headers) as opened:
        return await opened.answer()


@pytest.mark.parametrize("shape, dialect, scene, stream", CELLS)
def test_a_cell(world: tuple[Hearth, Vendors], shape: str, dialect: str, scene: str, stream: bool) -> None:
    hearth, running = world

    async def run() -> None:
        account = await hearth.bed.account()
        body = asked(shape, f"by-{dialect}", scene, stream=stream)
        got = heard(shape, await told(hearth, account, shape, body), stream=stream)
        told_to = running.seen[-1][1]
        _check_heard(got, counted(dialect, scene), shape, dialect)
        _check_asked(scene, dialect, told_to)
        assert got.cost == priced(counted(dialect, scene))
        assert await hearth.bed.spent(account) == got.cost

    hearth.run(run())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", ["anthropic", "gemini"])
def test_a_custom_tool_of_a_vendor_who_knows_functions_alone(
    world: tuple[Hearth, Vendors], dialect: str, stream: bool
) -> None:
    hearth, _ = world

    async def run() -> None:
        account = await hearth.bed.account()
        body = asked(RESPONSES, f"by-{dialect}", "custom", stream=stream)
        got = heard(RESPONSES, await told(hearth, account, RESPONSES, body | {"tools": PATCHING}), stream=stream)
        call = next(item for item in got.turn if item["type"] == "custom_tool_call")
        assert (call["call_id"], call["name"], call["input"]) == ("call_c1", "patch", '*** "x"\n')
        assert got.cost == await hearth.bed.spent(account) == priced(SCENES["custom"])
        for item in got.turn:
            holds(ResponseOutputItem, item)

    hearth.run(run())


def _check_heard(got: Heard, scene: Scene, shape: str, dialect: str) -> None:
    given = scene.input + scene.cached + scene.written
    assert got.tokens == (given, scene.cached, scene.output + scene.reasoning)
    if scene.refusal:
        # OpenAI says it in words of their own, Anthropic in its text and by the reason, Gemini by the reason alone.
        assert got.text + got.refusal == ("" if dialect == "gemini" else scene.refusal)
        assert (got.finish == "refusal") is (shape == MESSAGES or dialect in ("anthropic", "gemini"))
        return
    assert got.text == scene.text
    assert got.finish == ("length" if scene.cut else "tools" if scene.calls else "stop")
    if shape == COMPLETIONS:
        return
    assert got.thinking == scene.thinking
    assert got.calls == [(id, name, json.loads(given)) for id, name, given in scene.calls]
    assert got.citations == ([scene.citation] if scene.citation else [])


def _check_asked(scene: str, dialect: str, body: dict[str, Any]) -> None:
    """Whether the upstream was asked for what belongs to the scene, in its own words."""
    match scene, dialect:
        case "tool", "openai-chat":
            assert [tool["function"]["name"] for tool in body["tools"]] == ["look", "hear"]
            assert body["tool_choice"] == "required"
        case "tool", "openai-responses":
            assert [tool["name"] for tool in body["tools"]] == ["look", "hear"]
            assert body["tool_choice"] == "required"
        case "tool", "anthropic":
            assert [tool["name"] for tool in body["tools"]] == ["look", "hear"]
            assert body["tool_choice"] == {"type": "any"}
        case "tool", "gemini":
            (declared,) = body["tools"]
            assert [tool["name"] for tool in declared["functionDeclarations"]] == ["look", "hear"]
            assert body["toolConfig"]["functionCallingConfig"]["mode"] == "ANY"
        case "schema", _:
            wanted = {
                "openai-chat": lambda: body["response_format"]["json_schema"]["schema"],
                "openai-responses": lambda: body["text"]["format"]["schema"],
                "anthropic": lambda: body["output_config"]["format"]["schema"],
                "gemini": lambda: body["generationConfig"]["responseJsonSchema"],
            }[dialect]()
            assert list(wanted["properties"]) == ["colour"]
        case "thinking", _:
            thinks = {
                "openai-chat": lambda: body["reasoning_effort"],
                "openai-responses": lambda: body["reasoning"],
                "anthropic": lambda: body["thinking"]["budget_tokens"],
                "gemini": lambda: body["generationConfig"]["thinkingConfig"]["thinkingLevel"],
            }[dialect]()
            assert thinks
        case "image", _:
            assert PIXEL in json.dumps(body)


def second_body(
    world: tuple[Hearth, Vendors], shape: str, dialect: str, scene: str, *, stream: bool, results: bool
) -> dict[str, Any]:
    """What the upstream is asked in the second turn, the first answer given back as the caller got it."""
    hearth, running = world

    async def run() -> None:
        account, model = await hearth.bed.account(), f"by-{dialect}"
        asked_first = asked(shape, model, scene, stream=stream)
        first = heard(shape, await told(hearth, account, shape, asked_first), stream=stream)
        turns = [*first.turn, *(_results(shape) if results else [])]
        again = asked(shape, model, scene, stream=False, turns=turns)
        heard(shape, await told(hearth, account, shape, again), stream=False)

    hearth.run(run())
    return running.seen[-1][1]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", ["openai-responses", "anthropic", "gemini"])
@pytest.mark.parametrize("shape", [CHAT, MESSAGES, RESPONSES])
def test_thoughts_come_back_with_their_seal(
    world: tuple[Hearth, Vendors], shape: str, dialect: str, stream: bool
) -> None:
    body = second_body(world, shape, dialect, "thinking", stream=stream, results=False)
    sealed = {"openai-responses": "encrypted_content", "anthropic": "signature", "gemini": "thoughtSignature"}
    assert _values(body, sealed[dialect]) == [SCENES["thinking"].seal]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("shape", [CHAT, MESSAGES, RESPONSES])
def test_calls_and_their_results_come_back(
    world: tuple[Hearth, Vendors], shape: str, dialect: str, stream: bool
) -> None:
    body = second_body(world, shape, dialect, "tool", stream=stream, results=True)
    for mark in ("call_a1", "call_b2", "seen it", "heard it"):
        assert mark in json.dumps(body)
    if dialect == "gemini":
        assert _values(body, "thoughtSignature") == ["U0lHTkVE"]


def _results(shape: str) -> list[dict[str, Any]]:
    found = {"call_a1": "seen it", "call_b2": "heard it"}
    if shape == CHAT:
        return [{"role": "tool", "tool_call_id": id, "content": text} for id, text in found.items()]
    if shape == RESPONSES:
        return [{"type": "function_call_output", "call_id": id, "output": text} for id, text in found.items()]
    blocks = [{"type": "tool_result", "tool_use_id": id, "content": text} for id, text in found.items()]
    return [{"role": "user", "content": blocks}]


def _values(holder: Any, name: str) -> list[Any]:
    """Every value of this name, however deep."""
    if isinstance(holder, list):
        return [found for one in holder for found in _values(one, name)]
    if not isinstance(holder, dict):
        return []
    own = [holder[name]] if name in holder else []
    return own + [found for one in holder.values() for found in _values(one, name)]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("scene", ["busy", "refused", "broken", "failing"])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_failure_is_told_and_free(
    world: tuple[Hearth, Vendors], shape: str, dialect: str, scene: str, stream: bool
) -> None:
    hearth, _ = world

    async def run() -> None:
        account = await hearth.bed.account()
        answer = await told(hearth, account, shape, asked(shape, f"by-{dialect}", scene, stream=stream))
        if scene == "refused":
            assert answer.status == 400
            assert "The `colour` is not one" in answer.json()["error"]["message"]
        elif stream and scene != "busy":
            assert answer.status == 200
            assert b'"error"' in answer.body or b"response.failed" in answer.body
            assert b'"cost"' not in answer.body
        else:
            assert answer.status == (529 if shape == MESSAGES else 503)
            assert "Sorry" not in answer.json()["error"]["message"]
        assert await hearth.bed.spent(account) == 0

    hearth.run(run())


@pytest.mark.parametrize(
    "model, shape, scene, path",
    [
        ("openai", CHAT, "text", "/chat/completions"),
        ("openai", CHAT, "thinking", "/chat/completions"),
        ("openai", CHAT, "tool", "/responses"),  # its chat refuses tools where the model thinks
        ("openai", COMPLETIONS, "text", "/chat/completions"),
        ("openai", MESSAGES, "text", "/chat/completions"),
        ("openai", MESSAGES, "thinking", "/responses"),  # chat can ask for thinking there, but not show it
        ("openai", MESSAGES, "tool", "/responses"),
        ("openai", RESPONSES, "text", "/responses"),
        ("openai", RESPONSES, "thinking", "/responses"),
        ("pro", CHAT, "text", "/responses"),  # a model that answers there alone
        ("pro", COMPLETIONS, "text", "/responses"),
        ("pro", MESSAGES, "text", "/responses"),
        ("pro", RESPONSES, "text", "/responses"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_host_of_two_dialects_is_asked_in_the_one_that_fits(
    world: tuple[Hearth, Vendors], model: str, shape: str, scene: str, path: str, stream: bool
) -> None:
    hearth, running = world

    async def run() -> None:
        account = await hearth.bed.account()
        body = asked(shape, f"by-{model}", scene, stream=stream)
        got = heard(shape, await told(hearth, account, shape, body), stream=stream)
        assert running.seen[-1][0] == f"/openai-chat/v1{path}"
        assert got.text == SCENES[scene].text
        assert got.cost == priced(SCENES[scene]) == await hearth.bed.spent(account)

    hearth.run(run())


@pytest.mark.parametrize("shape", [CHAT, MESSAGES])
def test_what_the_cache_took_is_paid_by_who_leaves_in_the_middle(world: tuple[Hearth, Vendors], shape: str) -> None:
    """Anthropic counts the input before it answers, and bills it; an estimate would know nothing of the cache."""
    hearth, _ = world

    async def run() -> None:
        account = await hearth.bed.account()
        headers = {"authorization": f"Bearer {account.key}"}
        asked_for = asked(shape, "by-anthropic", "waiting", stream=True)
        async with exchange(hearth.bed.port, f"/v1/{shape}", asked_for, headers) as opened:
            await opened.until(SCENES["waiting"].text[:5].encode())
            opened.hang_up()
        row = await hearth.bed.only_row(account)
        usage = row["detail"]["usage"]
        given = {unit: usage[unit] for unit in ("input", "cache_read", "cache_write_5m")}
        assert given == {"input": 20, "cache_read": 4_000, "cache_write_5m": 300}
        assert (row["rule"], row["detail"]["estimated"]) == ("caller_left", True)
        scene = replace(SCENES["waiting"], output=usage["output"])
        assert await hearth.bed.spent(account) == priced(scene)

    hearth.run(run())
