"""What there is, is documented, and what is documented, is there: routes, settings, codes, commands, rules, links.

Must never start a gateway or open a socket: it reads the source, the application's own tables and the pages.
"""

from __future__ import annotations

import ast
import asyncio
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

import pytest
import typer.main
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from perquery import cli, config
from perquery.app import HOT_ROUTES, create_app
from perquery.metering.settlement import Rule
from perquery.web.door import PAGES
from tests.asgi import call
from tests.test_tidy import files

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / "docs"
SHARED_OPTIONS: Final = {"--config", "--data", "--json"}
VERBS: Final = ("get", "post", "put", "patch", "delete")
# For machines only, and not a part of the API that it describes.
UNLISTED: Final = {"/openapi.json"}


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def all_pages() -> str:
    return "\n".join(file.read_text("utf-8") for file in sorted(DOCS.glob("*.md")))


def pages() -> list[str]:
    """Every Markdown file of the project, relative to its root."""
    return [path.relative_to(ROOT).as_posix() for path in files() if path.suffix == ".md"]


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next one of its level."""
    level = heading.partition(" ")[0]
    found = re.search(rf"^{re.escape(heading)}$(.*?)(?=^{level} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no heading {heading!r}"
    return found.group(1)


def in_backquotes(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def source() -> Iterator[ast.AST]:
    for file in sorted((ROOT / "src").rglob("*.py")):
        yield from ast.walk(ast.parse(file.read_text("utf-8")))


# -- routes -----------------------------------------------------------------------------------------------------


def anonymous(path: str) -> str:
    """A path whose parameters have lost their names: they are ours to choose, in a page as in a route."""
    return re.sub(r"\{[^}]*\}", "{}", path)


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return create_app(config.Settings(mode="sandbox", data=tmp_path_factory.mktemp("docs")))


@pytest.fixture(scope="module")
def document(application: Any) -> dict[str, Any]:
    answer = asyncio.run(call(application, "GET", "/openapi.json"))
    assert answer.status == 200
    paths: dict[str, Any] = answer.json()["paths"]
    return paths


def starlettes(part: Any) -> Iterator[Starlette]:
    """The routers within an ASGI application, however they are wrapped."""
    if isinstance(part, Starlette):
        yield part
        for route in part.routes:
            if isinstance(route, Mount):
                yield from starlettes(route.app)
    elif hasattr(part, "__dict__"):
        for inner in vars(part).values():
            yield from starlettes(inner)


def test_every_route_is_in_the_openapi_document(application: Any, document: dict[str, Any]) -> None:
    """FastAPI's own routes are in it by themselves, unless they are hidden."""
    routers = list(starlettes(application.api))  # without the pages, which are docs/website.md's
    assert len(routers) == 2
    routed = {route.path for router in routers for route in router.routes if isinstance(route, Route)}
    assert {anonymous(path) for path in routed | set(HOT_ROUTES)} - UNLISTED <= set(map(anonymous, document))


def test_every_page_is_documented_and_none_else() -> None:
    written = re.findall(r"^\| `(/[^`]*)` \|", page("website.md"), re.MULTILINE)
    assert set(written) == {each.path for each in PAGES}


def test_no_route_is_hidden_from_the_openapi_document() -> None:
    hidden = [node.value for node in source() if isinstance(node, ast.keyword) and node.arg == "include_in_schema"]
    assert not hidden


def test_every_route_is_documented(document: dict[str, Any]) -> None:
    written = {anonymous(path.partition("?")[0]) for path in re.findall(r"(?<![\w.])/[\w./{}?-]*", all_pages())}
    assert {anonymous(path) for path in document} <= written


def test_every_documented_request_exists(document: dict[str, Any]) -> None:
    known = {f"{verb.upper()} {anonymous(path)}" for path, verbs in document.items() for verb in verbs}
    known |= {f"GET {path}" for path in UNLISTED}
    api = "\n".join(page(name) for name in ("api.md", "models.md", "topups.md", "billing.md"))
    written = re.findall(r"`((?:GET|HEAD|POST|PUT|PATCH|DELETE) /[^`?\s]*)", api)
    assert {anonymous(request) for request in written} <= known


def test_every_operation_says_what_it_is(document: dict[str, Any]) -> None:
    silent = [path for path, verbs in document.items() for verb in VERBS if verb in verbs if not verbs[verb]["summary"]]
    assert not silent


def test_every_header_of_ours_is_documented() -> None:
    texts = [file.read_text("utf-8") for file in (ROOT / "src").rglob("*.py")]
    ours = {name for text in texts for name in re.findall(r"\bx-perquery-[a-z-]+", text)}
    assert ours == set(re.findall(r"\bx-perquery-[a-z-]+", page("api.md")))


# -- settings ---------------------------------------------------------------------------------------------------

SECTIONS: Final = {
    "## `[[providers]]`: an upstream beyond the built-in table, or overriding a row of it": config.Provider,
    "## `[[models]]`: a model beyond the catalogue, or changing one of it": config.ModelSetting,
    "## `[[webhooks]]`: where your own service is told of top-ups": config.WebhookSetting,
    "## `[rates]`: exchange rates": config.RatesSetting,
    "## `[rails.NAME]`: a way to be paid": config.RailSetting,
    "## `[refunds]`: unspent deposits given back": config.RefundSetting,
}
INTERNAL: Final = {"mode", "data", "environment_keys", "providers", "models", "webhooks", "rates", "rails", "refunds"}


def plain_settings() -> dict[str, Any]:
    """The settings of the first table by name, with their defaults."""
    found: dict[str, Any] = {}
    for name, field in config.Settings.model_fields.items():
        if isinstance(field.default, BaseModel):
            found |= {f"{name}.{inner}": value for inner, value in field.default}
        elif name not in INTERNAL:
            found[name] = field.default
    return found


def test_every_setting_is_documented_with_its_default() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| (.+?) \| .+ \|$", page("configuration.md"), re.MULTILINE)
    written = {name: default.strip("`").strip('"') for name, default in rows}
    shown = {None: "none", (): "[]"}
    expected = {name: shown.get(value, str(value).removesuffix(".0")) for name, value in plain_settings().items()}
    assert written == expected


@pytest.mark.parametrize(("heading", "model"), SECTIONS.items())
def test_every_field_of_a_section_is_documented(heading: str, model: type[BaseModel]) -> None:
    rows = re.findall(r"^\| (`.+?`) \|", section(page("configuration.md"), heading), re.MULTILINE)
    assert in_backquotes("\n".join(rows)) == set(model.model_fields)


WITHIN: Final = [("price", config.PriceSetting), ("routes", config.RouteSetting), ("chains", config.ChainSetting)]


@pytest.mark.parametrize(("field", "model"), WITHIN)
def test_every_field_within_a_field_is_documented(field: str, model: type[BaseModel]) -> None:
    (row,) = re.findall(rf"^\| `{field}\w*` \|(.*)", page("configuration.md"), re.MULTILINE)
    assert set(re.findall(r"\w+", row)) >= set(model.model_fields)


def test_the_example_of_a_configuration_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", section(page("configuration.md"), "## Example"), re.DOTALL)
    monkeypatch.setenv("SCRIPTED_KEY", "secret")
    file = tmp_path / "perquery.toml"
    file.write_text(example, "utf-8")
    assert config.load(file=file).models[0].id == "stub-model"


# -- errors and rules -------------------------------------------------------------------------------------------


def error_codes() -> set[str]:
    """Every code that an error may have: of a class of `errors`, or given where one is raised."""
    found = set()
    for node in source():
        if isinstance(node, ast.Call):
            found |= {word.value.value for word in node.keywords if word.arg == "code" and _is_text(word.value)}  # type: ignore[attr-defined]
        if isinstance(node, ast.ClassDef):
            found |= set(_class_codes(node))
    return found


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _class_codes(node: ast.ClassDef) -> Iterator[str]:
    for statement in node.body:
        if not isinstance(statement, ast.Assign):
            continue
        target, value = statement.targets[0], statement.value
        names = [ast.unparse(item) for item in (target.elts if isinstance(target, ast.Tuple) else [target])]
        values = value.elts if isinstance(value, ast.Tuple) else [value]
        given = dict(zip(names, values, strict=False))
        if "code" in given and _is_text(given["code"]):
            yield ast.literal_eval(given["code"])


def test_every_error_code_is_documented_and_none_else() -> None:
    written = re.findall(r"^\| \d{3} \| `(\w+)` \|", page("errors.md"), re.MULTILINE)
    assert set(written) == error_codes()


def test_every_rule_of_billing_is_documented_and_none_else() -> None:
    table = section(page("billing.md"), "## Who pays when it fails")
    written = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    elsewhere = {node.value for node in source() if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert written >= set(get_args(Rule))
    assert not {rule for rule in written - set(get_args(Rule)) if not any(rule in text for text in elsewhere)}


# -- commands ---------------------------------------------------------------------------------------------------


def commands() -> dict[str, set[str]]:
    """The options of every command that does something, by its full name."""
    found: dict[str, set[str]] = {}

    def walk(command: Any, name: str) -> None:
        options = {option for parameter in command.params for option in parameter.opts if option.startswith("-")}
        context = typer.Context(command)
        inner = command.list_commands(context) if hasattr(command, "list_commands") else []
        if options or not inner:
            found[name] = options
        for word in inner:
            walk(command.get_command(context, word), f"{name} {word}")

    walk(typer.main.get_command(cli.app), "perquery")
    return found


@pytest.mark.parametrize("name", commands())
def test_every_command_has_the_shared_options(name: str) -> None:
    assert commands()[name] >= SHARED_OPTIONS


def test_the_shared_options_are_documented() -> None:
    assert in_backquotes(section(page("cli.md"), "## Every command")) >= SHARED_OPTIONS | {"--help"}


@pytest.mark.parametrize("name", commands())
def test_every_command_is_documented_with_its_options_and_an_example(name: str) -> None:
    text = section(page("cli.md"), f"## `{name}`")
    rows = "\n".join(re.findall(r"^\| (`--.+?`) \|", text, re.MULTILINE))
    assert in_backquotes(rows) == commands()[name] - SHARED_OPTIONS
    assert re.search(rf"```sh\n(?:[A-Z_]+=\S+ )?{name}", text)


def test_every_documented_command_exists() -> None:
    assert {f"perquery {name}" for name in re.findall(r"^## `perquery (.+)`$", page("cli.md"), re.MULTILINE)} == set(
        commands()
    )


# -- pages ------------------------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", pages())
def test_links_of_a_page_lead_somewhere(name: str) -> None:
    file = ROOT / name
    for link in re.findall(r"\]\(([^)\s]+)\)", file.read_text("utf-8")):
        if re.match(r"\w+:", link):
            continue
        target, _, anchor = link.partition("#")
        found = (file.parent / target).resolve() if target else file
        assert found.exists(), f"{name}: {link}"
        assert not anchor or anchor in anchors(found.read_text("utf-8")), f"{name}: {link}"


@pytest.mark.parametrize("name", pages())
def test_pages_that_are_named_exist(name: str) -> None:
    named = set(re.findall(r"\bdocs/\w[\w-]*\.md\b", (ROOT / name).read_text("utf-8")))
    assert not {path for path in named if not (ROOT / path).exists()}


def test_the_source_names_pages_that_exist() -> None:
    texts = (file.read_text("utf-8") for file in (ROOT / "src").rglob("*.py"))
    named = {path for text in texts for path in re.findall(r"\bdocs/\w[\w-]*\.md\b", text)}
    assert not {path for path in named if not (ROOT / path).exists()}


def test_the_readme_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\((docs/[^)#]+)", (ROOT / "README.md").read_text("utf-8")))
    assert linked == {f"docs/{file.name}" for file in DOCS.glob("*.md")} | {"docs/tools/README.md"}


def test_the_changelog_begins_with_what_is_to_come_and_names_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    headings = re.findall(r"^## (.+)$", changelog, re.MULTILINE)
    assert headings[0].startswith("[UNRELEASED]")
    assert any(project["version"] in heading for heading in headings)
