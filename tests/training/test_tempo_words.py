import re

import torch
from hypothesis import given
from hypothesis import strategies as st

from musiclm.training.tempo_words import _ADJECTIVES, _ADVERBS, at_another_tempo


def test_text_without_a_tempo_has_no_other() -> None:
    assert at_another_tempo("A calm violin, no drums, breakfast at 8") is None
    assert at_another_tempo("") is None


@given(st.sampled_from([word for words in _ADJECTIVES + _ADVERBS for word in words]), st.integers(0, 100))
def test_word_is_exchanged_for_one_of_another_tempo_and_the_same_kind(word: str, seed: int) -> None:
    torch.manual_seed(seed)
    other = at_another_tempo(f"A happy {word.replace('-', ' ').upper()} violin melody")
    assert other is not None
    exchanged = other.removeprefix("A happy ").removesuffix(" violin melody")
    table = _ADJECTIVES if any(word in words for words in _ADJECTIVES) else _ADVERBS
    own = next(words for words in table if word in words)
    assert exchanged in {word for words in table for word in words} - set(own)


@given(st.integers(60, 180), st.integers(0, 100))
def test_beats_per_minute_leave_their_range(tempo: int, seed: int) -> None:
    torch.manual_seed(seed)
    other = at_another_tempo(f"techno at {tempo} BPM in 120 seconds")
    assert other is not None
    found = re.fullmatch(r"techno at (\d+) BPM in 120 seconds", other)
    assert found is not None
    ranges = [tempo <= 86, 86 < tempo <= 118, tempo > 118]
    number = int(found[1])
    assert [number <= 86, 86 < number <= 118, number > 118] != ranges
    assert 60 <= number <= 180


def test_all_mentions_move_to_one_tempo() -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        other = at_another_tempo("slow rock, played slowly at 70 bpm")
        assert other is not None
        number = int(re.findall(r"(\d+) bpm", other)[0])
        fast = any(word in other for word in (*_ADJECTIVES[2], *_ADVERBS[2]))
        assert number >= 126 if fast else 92 <= number <= 118
