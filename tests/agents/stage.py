"""Where the tools play: an empty home and project each, and nothing outside of this machine to talk to.

It owns how each tool is found, set up and called, by the settings of its own page where it has a block of them. It
must never read a setting of the machine's user.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from platform import machine
from typing import Final, TypeAlias

from tests.agents.play import ASKED, DONE, EDIT, MARKER_FILE, PHRASE

ROOT: Final = Path(__file__).parents[2]
AGENTS: Final = ROOT / ".agents"  # make test-slow fills it
PAGES: Final = ROOT / "docs" / "tools"
DRIVERS: Final = Path(__file__).with_name("drivers")
LIMIT_S: Final = 120.0
_NODE: Final = Path(shutil.which("node") or "/usr/bin/node")
_NPM: Final = AGENTS / "npm" / "node_modules"
_SETTING: Final = re.compile(r"[A-Z_]+=")
_NOWHERE: Final = "http://127.0.0.1:9"  # a proxy that nobody runs: calls home fail at once


@dataclass(frozen=True)
class Run:
    """One run of a tool: where, with which models. home and project: fresh folders."""

    base_url: str
    key: str
    models: tuple[str, ...]
    home: Path
    project: Path

    @property
    def model(self) -> str:
        return self.models[0]


Command: TypeAlias = tuple[list[str | Path], dict[str, str]]


@dataclass(frozen=True)
class Tool:
    """command: what to run, and what to put into its environment. file: the program, as it was installed.

    shows: what it prints. leaves: whether it leaves the marker in a file of its project. seals: whether it sends a
    thought back with the seal that it came with. connects: it differs from another only in how it reaches the gateway,
    so that one upstream is enough. at_once: one run asks all models, for its start costs more than what it does.
    works: the paths of what it asks for beside chat.
    """

    name: str
    file: Path
    command: Callable[[Run], Command]
    shows: tuple[str, ...] = (PHRASE, DONE)
    leaves: bool = False
    seals: bool = False
    connects: bool = False
    at_once: bool = False
    works: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Ended:
    status: int
    output: str


def _block(page: str, language: str, run: Run) -> str:
    """The settings of a tool's own page, with this run's address, key and model in place of the page's."""
    text = (PAGES / f"{page}.md").read_text("utf-8")
    found = re.search(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found, f"docs/tools/{page}.md has no block of {language}"
    told = re.sub(r"\$BASE|http://127\.0\.0\.1:8000", run.base_url, found[1])
    told = told.replace("$KEY", run.key).replace('"sk-..."', f'"{run.key}"')
    return re.sub(r"\b(?:claude-(?:opus|sonnet|haiku)|gpt)-\d[\d.-]*\d\b", run.model, told)


def _shell(page: str, run: Run) -> Command:
    """What a page has typed into a shell: the command, and what it puts into the environment."""
    words = shlex.split(_block(page, "sh", run), comments=True)
    named = dict(word.split("=", 1) for word in words if _SETTING.match(word))
    return [word for word in words if word != "export" and not _SETTING.match(word)], named


def _claude(run: Run) -> Command:
    words, address = _shell("claude-code", run)
    assert words.pop(0) == "claude"
    quiet = dict.fromkeys(("DISABLE_AUTOUPDATER", "DISABLE_TELEMETRY"), "1")
    return [_NODE, _CLAUDE, *words, "-p", f"{ASKED}.", "--allowedTools", "Bash"], address | quiet


def _claude_by_key(run: Run) -> Command:
    """With the other of its page's two names for the key, which goes into another header."""
    words, named = _claude(run)
    assert "ANTHROPIC_API_KEY" in (PAGES / "claude-code.md").read_text("utf-8")
    return words, named | {"ANTHROPIC_API_KEY": named.pop("ANTHROPIC_AUTH_TOKEN")}


def _codex(run: Run) -> Command:
    return _codex_by(run, _block("codex", "toml", run), "PERQUERY_KEY")


def _codex_itself(run: Run) -> Command:
    """With its built-in provider, which tries a WebSocket first."""
    assert "openai_base_url" in (PAGES / "codex.md").read_text("utf-8")
    own = f'model = "{run.model}"\nopenai_base_url = "{run.base_url}/v1"\ncli_auth_credentials_store = "file"\n'
    return _codex_by(run, own, "CODEX_API_KEY")


def _codex_by(run: Run, settings: str, name: str) -> Command:
    folder = run.home / ".codex"
    folder.mkdir()
    quiet = "check_for_update_on_startup = false\n", "\n[analytics]\nenabled = false\n"
    (folder / "config.toml").write_text(settings.join(quiet))
    # The sandbox of its own needs more of the kernel than a container gives; this project is a folder of the test.
    words = ["exec", "--skip-git-repo-check", "--sandbox", "danger-full-access", f"{ASKED}."]
    return [_NODE, _CODEX, *words], {name: run.key, "CODEX_HOME": str(folder)}


def _cline(run: Run) -> Command:
    """It leaves a daemon behind, which is told to end."""
    words, _ = _shell("cline", run)
    typed = f'{shlex.join(map(str, words))} && cline "{ASKED}."; ended=$?; cline hub stop; exit $ended'
    return ["bash", "-c", typed], {"PATH": f"{_CLINE.parent}:/usr/local/bin:/usr/bin:/bin"}


def _continue(run: Run) -> Command:
    settings = _written("continue", "yaml", run, run.home / "config.yaml")
    quiet = {"CONTINUE_TELEMETRY_ENABLED": "0"}
    return [_NODE, _CONTINUE, "--config", settings, "--auto", "--print", f"{ASKED}."], quiet


def _aider(run: Run) -> Command:
    words, address = _shell("aider", run)
    assert words.pop(0) == "aider"
    off = ("git", "check-update", "show-model-warnings", "auto-commits", "pretty", "detect-urls", "show-release-notes")
    words += ["--edit-format", "whole", "--yes-always", "--analytics-disable", "--map-tokens", "0"]
    words += ["--message", f"{EDIT}.", *(f"--no-{name}" for name in off), MARKER_FILE]
    return [_AIDER, *words], address | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def _written(page: str, language: str, run: Run, file: Path) -> Path:
    """A page's settings in a file of their own."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_block(page, language, run))
    return file


def _program(page: str) -> Callable[[Run], Command]:
    """The page's block is a whole program."""
    return lambda run: ([_PYTHON, _written(page, "python", run, run.home / "program.py")], {})


def _langchain(run: Run) -> Command:
    settings = _written("langchain", "python", run, run.home / "settings.py")
    script = DRIVERS / "langchain_models.py"
    return [_LIBRARIES / "python", script, settings, run.base_url, run.key, f"{ASKED}.", *run.models], {}


def _vercel(run: Run) -> Command:
    settings = _written("vercel-ai-sdk", "js", run, AGENTS / "npm" / "vercel-settings.mjs")
    settings.write_text(settings.read_text().replace("const perquery", "export const perquery"))
    words, _ = _driver(_NODE, "vercel.mjs")(run)
    return words, {"PERQUERY_KEY": run.key}


def _llm(run: Run) -> Command:
    folder = run.home / "llm"
    _written("llm", "yaml", run, folder / "extra-openai-models.yaml")
    keys, asked = "llm keys set perquery", 'llm -m sonnet "Say hello"'
    page = (PAGES / "llm.md").read_text("utf-8")
    assert keys in page and asked in page
    tool = "def multiply(a: int, b: int) -> str:\n    return f'ran-{a * b}'\n"
    asked = asked.replace('"Say hello"', f'"{ASKED}." --functions "$TOOL"')
    typed = f"{keys} --value {run.key}; {asked} && {asked} --no-stream"
    return ["bash", "-c", typed], {"LLM_USER_PATH": str(folder), "TOOL": tool, "PATH": f"{_LIBRARIES}:/usr/bin:/bin"}


def _open_webui(run: Run) -> Command:
    words, settings = _shell("open-webui", run)
    assert words.pop(0) == "open-webui"
    offline = {"OFFLINE_MODE": "True", "HF_HUB_OFFLINE": "1", "ENABLE_VERSION_UPDATE_CHECK": "False"}
    alone = {"WEBUI_AUTH": "False", "WEBUI_SECRET_KEY": "x", "ENABLE_OLLAMA_API": "False", "DATA_DIR": str(run.home)}
    kinds = ("RAG_EMBEDDING", "AUDIO_TTS", "AUDIO_STT", "IMAGE_GENERATION")
    named = {f"{kind}_MODEL": run.model for kind in kinds} | {"AUDIO_TTS_VOICE": "alloy"}
    assert all(settings.get(f"{kind}_ENGINE") == "openai" for kind in kinds) and settings.keys() >= named.keys()
    quiet = {"ANONYMIZED_TELEMETRY": "False", "DO_NOT_TRACK": "true", "SCARF_NO_ANALYTICS": "true"}
    script = [_PYTHON, DRIVERS / "open_webui.py", f"{ASKED}.", ",".join(run.models), _OPEN_WEBUI, *words]
    return script, settings | offline | alone | named | quiet


def _opencode(package: str) -> Callable[[Run], Command]:
    """package: that speaks for it, of those that its page names."""

    def command(run: Run) -> Command:
        assert f"`{package}`" in (PAGES / "opencode.md").read_text("utf-8") or package == "@ai-sdk/openai-compatible"
        settings = _written("opencode", "json", run, run.project / "opencode.json")
        settings.write_text(settings.read_text().replace("@ai-sdk/openai-compatible", package))
        quiet = dict.fromkeys(("OPENCODE_DISABLE_AUTOUPDATE", "OPENCODE_DISABLE_MODELS_FETCH"), "1")
        return [_OPENCODE, "run", f"{ASKED}."], {"PERQUERY_KEY": run.key} | quiet

    return command


def _driver(program: Path | str, file: str) -> Callable[[Run], Command]:
    def command(run: Run) -> Command:
        script = DRIVERS / file
        if script.suffix == ".mjs":  # it finds its packages beside itself
            script = AGENTS / "npm" / file
            shutil.copyfile(DRIVERS / file, script)
        return [program, script, run.base_url, run.key, f"{ASKED}.", *run.models], {}

    return command


def _comply(shape: str, *words: str) -> Callable[[Run], Command]:
    def command(run: Run) -> Command:
        where = ["run", "-u", run.base_url + "/v1", "-k", run.key, "-m", run.model, "--format", shape]
        return [_COMPLY, *where, *words], {}

    return command


_PYTHON: Final = Path(sys.executable)
_CLAUDE: Final = _NPM / "@anthropic-ai/claude-code/cli-wrapper.cjs"
_CODEX: Final = _NPM / "@openai/codex/bin/codex.js"
_CLINE: Final = _NPM / "@cline/cli-linux-x64/bin/cline"
_CONTINUE: Final = _NPM / "@continuedev/cli/dist/cn.js"
_AIDER: Final = AGENTS / "venv/bin/aider"
_LIBRARIES: Final = AGENTS / "libraries/bin"
_OPEN_WEBUI: Final = AGENTS / "open-webui/bin/open-webui"
_OPENCODE: Final = _NPM / "opencode-linux-x64/bin/opencode"
_COMPLY: Final = AGENTS / "venv/bin/llm-comply"
_AS_ANTHROPIC: Final = ("--auth-header", "x-api-key", "--no-bearer", "-H", "anthropic-version:2023-06-01")
_WORKS: Final = frozenset({"/embeddings", "/images/generations", "/audio/speech", "/audio/transcriptions"})
TOOLS: Final = (
    Tool("claude", _CLAUDE, _claude, leaves=True, seals=True),
    Tool("claude-by-key", _CLAUDE, _claude_by_key, leaves=True, connects=True),
    Tool("codex", _CODEX, _codex, leaves=True, seals=True),
    Tool("codex-itself", _CODEX, _codex_itself, leaves=True, connects=True),
    Tool("cline", _CLINE, _cline, leaves=True),
    Tool("continue", _CONTINUE, _continue, leaves=True),
    Tool("aider", _AIDER, _aider, (PHRASE,), leaves=True),
    Tool("opencode-chat", _OPENCODE, _opencode("@ai-sdk/openai-compatible"), leaves=True),
    Tool("opencode-messages", _OPENCODE, _opencode("@ai-sdk/anthropic"), leaves=True, seals=True),
    Tool("opencode-responses", _OPENCODE, _opencode("@ai-sdk/openai"), leaves=True),
    Tool("open-webui", _OPEN_WEBUI, _open_webui, (PHRASE,), at_once=True, works=_WORKS),
    Tool("llm", _LIBRARIES / "llm", _llm),
    Tool("langchain", _LIBRARIES / "python", _langchain, at_once=True),
    Tool("vercel", _NPM / "ai", _vercel, at_once=True),
    Tool("openai-page", _PYTHON, _program("openai-sdk"), (PHRASE,)),
    Tool("anthropic-page", _PYTHON, _program("anthropic-sdk"), (PHRASE,)),
    Tool("openai-python", _PYTHON, _driver(_PYTHON, "openai_sdk.py"), at_once=True, works=_WORKS),
    Tool("anthropic-python", _PYTHON, _driver(_PYTHON, "anthropic_sdk.py"), seals=True, at_once=True),
    Tool("openai-npm", _NPM / "openai", _driver(_NODE, "openai.mjs"), at_once=True, works=frozenset({"/embeddings"})),
    Tool("anthropic-npm", _NPM / "@anthropic-ai/sdk", _driver(_NODE, "anthropic.mjs"), at_once=True),
    Tool("comply-chat", _COMPLY, _comply("openai-chat"), ()),
    Tool("comply-responses", _COMPLY, _comply("open-responses"), ()),
    Tool("comply-anthropic", _COMPLY, _comply("anthropic", *_AS_ANTHROPIC), ()),
)


def missing(tool: Tool) -> str:
    """Why a tool cannot be there on this machine, or "" where it has to be."""
    if tool.name in ("aider", "open-webui") and sys.version_info >= (3, 13):
        return f"{tool.name} has no release for this Python"
    if _NPM in tool.file.parents and not shutil.which("npm"):
        return "there is no npm: on Debian, apt-get install nodejs npm"
    if tool.file in (_OPENCODE, _CLINE) and (sys.platform, machine()) != ("linux", "x86_64"):
        return f"{tool.name} is installed for Linux on x86-64 alone"
    return ""


def environment(home: Path, more: Mapping[str, str]) -> dict[str, str]:
    fixed = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "NO_COLOR": "1",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    return fixed | dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), _NOWHERE) | dict(more)


async def played(tool: Tool, run: Run) -> Ended:
    """Run it to its end, its whole output in one text."""
    assert tool.file.exists(), f"{tool.name} is not installed: make test-slow does that"
    command, more = tool.command(run)
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=run.project,
        env=environment(run.home, more),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), LIMIT_S)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return Ended(process.returncode, said.decode("utf-8", "replace"))
