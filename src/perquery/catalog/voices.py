"""Who speaks: the voices of each model, and the one that a request means.

Data and look-ups only, read once from voices.toml. It must never hand a model a voice of another.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from perquery.calls import Work
from perquery.errors import BadRequest, Unprocessable

CHARACTERS_MAX: Final = 2_000


@dataclass(frozen=True, slots=True)
class Voice:
    """language: two letters, or "multi"."""

    id: str
    name: str
    language: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Cast:
    """The voices of some models, the default first. open: further ids that the vendor may know."""

    ids: tuple[str, ...]
    voices: tuple[Voice, ...]
    source: str
    characters_max: int = CHARACTERS_MAX
    open: str = ""

    def find(self, name: str) -> str | None:
        """The id of the voice with that id or name."""
        wanted = name.lower()
        for voice in self.voices:
            if wanted in (voice.id.lower(), voice.name.lower()):
                return voice.id
        return name if self.open and re.fullmatch(self.open, name) else None


class Voices:
    """All of them."""

    def __init__(self, text: str | None = None) -> None:
        written = text or resources.files("perquery.catalog").joinpath("voices.toml").read_text("utf-8")
        self._casts = tuple(_cast(entry) for entry in tomllib.loads(written)["models"])
        self._of = {id: cast for cast in self._casts for id in cast.ids}

    def settle(self, work: Work, model: str) -> None:
        """Put the voice that the work means into its body: the model's own, or its default.

        Raises Unprocessable for a voice of another model or language, BadRequest for too long a text.
        """
        cast = self._of.get(model)
        longest = cast.characters_max if cast is not None else CHARACTERS_MAX
        if (length := len(work.body["input"])) > longest:
            raise BadRequest(f"`input` must be at most {longest} characters; there are {length}.", param="input")
        given = work.body.get("voice")
        if cast is None:
            return
        found = cast.find(given) if given else cast.voices[0].id
        if given and found is None:
            raise Unprocessable(self._refusal(given, model, cast), param="voice", code="wrong_voice")
        work.body["voice"] = found
        language = str(work.body.get("language") or "").lower()[:2]
        voice = next((voice for voice in cast.voices if voice.id == found), None)
        if language and voice is not None and voice.language not in ("multi", language):
            raise Unprocessable(
                f"The voice {found} speaks {voice.language}, not {language}.", param="voice", code="wrong_voice"
            )

    def _refusal(self, given: str, model: str, cast: Cast) -> str:
        others = [other.ids[0] for other in self._casts if other is not cast and other.find(given) is not None]
        whose = f"is a voice of {others[0]}, not of {model}" if others else f"is no voice of {model}"
        some = ", ".join(voice.id for voice in cast.voices[:6])
        return f"{given[:100]!r} {whose}; it has {some} … (GET /v1/audio/voices)."

    def listing(self, models: Iterable[str], language: str = "") -> list[dict[str, Any]]:
        """The voices of these models, of one language where one is named."""
        wanted = language.lower()[:2]
        return [
            _shown(voice, model)
            for cast in self._casts
            for model in cast.ids
            if model in frozenset(models)
            for voice in cast.voices
            if not wanted or voice.language in ("multi", wanted)
        ]

    def characters_max(self, model: str) -> int:
        cast = self._of.get(model)
        return cast.characters_max if cast is not None else CHARACTERS_MAX


def _cast(entry: Mapping[str, Any]) -> Cast:
    return Cast(
        ids=tuple(entry["ids"]),
        voices=tuple(Voice(**voice) for voice in entry["voices"]),
        source=entry["source"],
        characters_max=entry.get("characters_max", CHARACTERS_MAX),
        open=entry.get("open", ""),
    )


def _shown(voice: Voice, model: str) -> dict[str, Any]:
    return {
        "id": voice.id,
        "voice_id": voice.id,
        "name": voice.name,
        "description": voice.description,
        "language": voice.language,
        "model": model,
    }
