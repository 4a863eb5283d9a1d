"""The tools' pages: each block is well-formed, names the address that the tool wants, and models that are sold.

Must never start a tool: what runs here runs in tests/agents.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from perquery.app import HOT_ROUTES
from perquery.catalog import Catalog, build
from perquery.config import Settings
from tests.catalog.conftest import REVIEWED

TOOLS: Final = Path(__file__).parents[1] / "docs" / "tools"
# What stands behind the gateway's address in the settings of each tool.
ADDRESSES: Final[Mapping[str, set[str]]] = {
    "aider": {"/v1"},
    "anthropic-sdk": {""},
    "claude-code": {""},
    "cline": {"/v1"},
    "codex": {"/v1"},
    "continue": {"/v1"},
    "cursor": {"/v1"},
    "goose": {""},
    "langchain": {"/v1", ""},  # of OpenAI's class, of Anthropic's
    "llm": {"/v1"},
    "open-webui": {"/v1"},
    "openai-sdk": {"/v1"},
    "opencode": {"/v1"},
    "roo-code": {"/v1"},
    "vercel-ai-sdk": {"/v1"},
}
PARSERS: Final[Mapping[str, Callable[[str], Any]]] = {"toml": tomllib.loads, "json": json.loads, "python": ast.parse}


def settings(tool: str) -> str:
    """A page without its first paragraph, which says what $BASE is."""
    return (TOOLS / f"{tool}.md").read_text("utf-8").split("\n\n", 2)[2]


def test_every_tool_has_a_page_that_the_list_leads_to() -> None:
    listed = re.findall(r"\]\(([\w-]+)\.md\)", (TOOLS / "README.md").read_text("utf-8"))
    assert sorted(listed) == sorted(ADDRESSES)
    assert {file.stem for file in TOOLS.glob("*.md")} == {*ADDRESSES, "README"}


@pytest.mark.parametrize("tool", ADDRESSES)
def test_a_page_names_the_address_that_the_tool_wants(tool: str) -> None:
    found = re.findall(r"(?:\$BASE|https?://(?:127\.0\.0\.1:8000|your\.host))([\w/.]*)", settings(tool))
    assert set(found) == ADDRESSES[tool]


@pytest.mark.parametrize("tool", ADDRESSES)
def test_the_blocks_of_a_page_are_well_formed(tool: str) -> None:
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", settings(tool), re.MULTILINE | re.DOTALL):
        PARSERS.get(language, str)(block)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Every model, at the sandbox's one host."""
    return build(Settings(data=tmp_path_factory.mktemp("catalog"), mode="sandbox"), ["local"], today=REVIEWED)


@pytest.mark.parametrize("tool", ADDRESSES)
def test_the_models_of_a_page_are_sold(catalog: Catalog, tool: str) -> None:
    for name in re.findall(r"\b(?:claude-(?:opus|sonnet|haiku)|gpt)-\d[\d.-]*\d\b", settings(tool)):
        catalog.find(name, REVIEWED)


def test_the_path_that_goose_is_told_is_one_of_ours() -> None:
    (path,) = re.findall(r"OPENAI_BASE_PATH=(\S+)", settings("goose"))
    assert f"/{path}" in HOT_ROUTES


def test_codex_is_told_to_speak_what_it_speaks() -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```$", settings("codex"), re.MULTILINE | re.DOTALL)
    read = tomllib.loads(block)
    provider = read["model_providers"][read["model_provider"]]
    assert (provider["wire_api"], provider["env_key"]) == ("responses", "PERQUERY_KEY")
    assert f"{provider['env_key']}=$KEY codex" in settings("codex")
