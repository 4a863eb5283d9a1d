"""Captions: cues that can be read, whatever the words, read back by parsers that other people wrote."""

from __future__ import annotations

import io
from datetime import timedelta

import srt as other_srt
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from perquery.dialects.captions import CUE_MS_MAX, GAP_MS, LINE_CHARS, LINES, Cue, Word, cues, spread, srt, vtt

TEXT = st.text(max_size=100)
TIME = st.integers(-10_000, 10_000_000)
WORDS = st.lists(st.builds(Word, TEXT, TIME, TIME), max_size=40)
SPOKEN = "The quick brown fox jumps over the lazy dog. It is seven o'clock, and all is well & <quiet> in the old town."


def spoken(text: str = SPOKEN, ms_per_word: int = 300) -> list[Word]:
    return [Word(word, at * ms_per_word, (at + 1) * ms_per_word) for at, word in enumerate(text.split())]


def test_a_cue_is_readable() -> None:
    found = cues(spoken())
    assert found[0].lines == ("The quick brown fox jumps over the lazy", "dog.")  # its sentence, no word of the next
    assert (found[0].start_ms, found[0].end_ms) == (0, 2_700)
    assert " ".join(line for cue in found for line in cue.lines) == SPOKEN


def test_no_cue_stands_across_a_silence() -> None:
    first, second = cues([Word("Hello", 0, 500), Word("again", 3_600_000, 3_600_400)])
    assert (first.lines, first.end_ms, second.lines, second.start_ms) == (("Hello",), 500, ("again",), 3_600_000)
    assert len(cues([Word("Hello", 0, 500), Word("again", 500 + GAP_MS, 2_000)])) == 1


def test_no_words() -> None:
    assert (srt([]), vtt([])) == ("", "WEBVTT\n\n")
    assert list(other_srt.parse("")) == [] and len(webvtt.from_buffer(io.StringIO("WEBVTT\n\n"))) == 0
    assert cues([Word(" \n", 0, 10), Word("", 5, 5)]) == []


def test_scripts_without_spaces() -> None:
    assert cues([Word("你", 0, 100), Word("好。", 100, 200)])[0].lines == ("你好。",)
    assert cues([Word("안녕", 0, 100), Word("하세요", 100, 200)])[0].lines == ("안녕 하세요",)


def test_a_passage_without_word_times() -> None:
    words = spread("one two three", 1_000, 2_100)
    assert [(word.text, word.start_ms, word.end_ms) for word in words] == [
        ("one", 1_000, 1_300),
        ("two", 1_300, 1_600),
        ("three", 1_600, 2_100),
    ]
    assert spread("  ", 0, 5) == []


def test_times_are_written_out() -> None:
    cue = [Cue(3_723_004, 3_724_000, ("x",))]
    assert "01:02:03,004 --> 01:02:04,000" in srt(cue) and "01:02:03.004 --> 01:02:04.000" in vtt(cue)


@given(WORDS)
def test_cues_keep_the_rules(words: list[Word]) -> None:
    found = cues(words)
    at = 0
    for cue in found:
        assert at <= cue.start_ms < cue.end_ms <= cue.start_ms + CUE_MS_MAX
        assert 1 <= len(cue.lines) <= LINES and all(0 < len(line) <= LINE_CHARS for line in cue.lines)
        at = cue.end_ms


@given(WORDS)
def test_srt_is_read_back(words: list[Word]) -> None:
    found = cues(words)
    read = list(other_srt.parse(srt(found)))
    assert [(each.start, each.end) for each in read] == [
        (timedelta(milliseconds=cue.start_ms), timedelta(milliseconds=cue.end_ms)) for cue in found
    ]
    assert [each.content for each in read] == ["\n".join(cue.lines).replace("-->", "→") for cue in found]


@given(WORDS)
def test_vtt_is_read_back(words: list[Word]) -> None:
    found = cues(words)
    read = webvtt.from_buffer(io.StringIO(vtt(found))).captions
    assert [(each.start_in_seconds, each.raw_text.count("\n") + 1) for each in read] == [
        (cue.start_ms // 1_000, len(cue.lines)) for cue in found
    ]
    assert not any("<" in line or "-->" in line for each in read for line in each.lines)
