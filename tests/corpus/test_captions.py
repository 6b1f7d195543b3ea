import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musiclm.corpus import words
from musiclm.corpus.attributes import draw_attributes
from musiclm.corpus.captions import describe, describe_attributes, with_articles
from musiclm.corpus.composer import compose
from musiclm.corpus.genres import GENRES, MOODS
from musiclm.corpus.instruments import INSTRUMENTS
from musiclm.corpus.piece import Attributes
from musiclm.corpus.songbook import SONGBOOK
from musiclm.corpus.theory import key_name

SEEDS = st.integers(min_value=0, max_value=2**31)
ABSENT = re.compile(
    r"without (any )?drums|no drums|no percussion( at all)?|without percussion|drum-free|drumless|no beat"
)
PRESENT = re.compile(r"drum|percussion")


def captions_of(labels: Attributes, seed: int, count: int = 12, metre: int = 4) -> list[str]:
    return [text.lower() for text in describe_attributes(labels, metre, seed=seed, count=count)]


@pytest.fixture(scope="module")
def described() -> list[tuple[Attributes, list[str]]]:
    generator = np.random.Generator(np.random.PCG64(1))
    drawn = [draw_attributes(generator) for _ in range(400)]
    return [(labels, captions_of(labels, seed)) for seed, labels in enumerate(drawn)]


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_the_same_piece_gives_the_same_different_captions(seed: int) -> None:
    piece = compose(seed)
    captions = describe(piece, count=6)
    assert captions == describe(piece, count=6)
    assert len({caption.lower() for caption in captions}) == 6


def test_no_caption_has_a_hole_or_a_slip(described: list[tuple[Attributes, list[str]]]) -> None:
    for _, captions in described:
        for caption in captions:
            assert not re.search(r"[{}]|  |, ,", caption)
            assert 5 <= len(caption) <= 200
            assert not re.search(r"\ba [aeio]", caption.replace("in a major", "").replace("a minor", "")), (
                caption
            )
            assert not re.search(
                r"\b(\w+) \1\b", caption.replace("twinkle twinkle", "").replace("row row", "")
            ), caption


def test_drums_are_named_only_where_they_are(described: list[tuple[Attributes, list[str]]]) -> None:
    named = {True: 0, False: 0}
    for labels, captions in described:
        for caption in captions:
            absent = ABSENT.search(caption) is not None
            present = PRESENT.search(ABSENT.sub("", caption)) is not None
            if labels.drums:
                assert not absent, caption
            else:
                assert not present, caption
            named[labels.drums] += absent or present
    assert min(named.values()) > 400  # both are said often enough to be learned


def test_keys_tempos_and_tunes_are_the_labels(described: list[tuple[Attributes, list[str]]]) -> None:
    for labels, captions in described:
        for caption in captions:
            for bpm in re.findall(r"(\d+) (?:bpm|beats)", caption):
                assert int(bpm) == round(labels.tempo)
            for mode in ("major", "minor"):
                if f" {mode}" in caption:
                    assert labels.mode == mode, caption
                for tonic in range(12):
                    if re.search(rf"in {key_name(tonic, mode).lower()}(?! key)", caption):
                        assert (tonic, mode) == (labels.tonic, labels.mode), caption
            slow = re.search(r"\b(slow|unhurried|leisurely|downtempo|slow-paced)\b", caption)
            fast = re.search(r"\b(fast|up-tempo|rapid|brisk|quick|breakneck|fast-paced)\b", caption)
            assert not slow or labels.tempo <= 86, caption
            assert not fast or labels.tempo >= 126, caption
            for title in SONGBOOK:
                if title.lower() in caption:
                    assert labels.tune == title


def test_only_instruments_that_play_are_named(described: list[tuple[Attributes, list[str]]]) -> None:
    unmistakable = {
        "violin", "flute", "cello", "trumpet", "clarinet", "oboe", "accordion", "marimba", "tuba",
        "saxophone", "vibraphone", "harpsichord", "choir", "organ", "distorted guitar", "music box",
    }  # fmt: skip
    for labels, captions in described:
        playing = {labels.lead, labels.bass, *labels.accompaniment}
        for caption in captions:
            for name in unmistakable - playing:
                assert not re.search(rf"\b{name}\b", caption), (labels, caption)


def test_most_captions_name_the_lead(described: list[tuple[Attributes, list[str]]]) -> None:
    named = total = 0
    for labels, captions in described:
        for caption in captions:
            named += any(word in caption for word in words.INSTRUMENT_WORDS[labels.lead])
            total += 1
    assert named >= 0.85 * total


def test_moods_do_not_borrow_each_others_words() -> None:
    owners: dict[str, str] = {}
    for mood in MOODS:
        for word in set(words.MOOD_WORDS[mood]):
            assert word not in owners, (word, mood, owners.get(word))
            owners[word] = mood


def test_every_label_has_words() -> None:
    assert set(words.MOOD_WORDS) == set(words.SCENES) == set(words.IMAGES) == set(words.TOUCHES) == set(MOODS)
    assert set(words.GENRE_WORDS) == set(GENRES)
    assert set(words.INSTRUMENT_WORDS) == set(INSTRUMENTS)
    for name, choices in words.INSTRUMENT_WORDS.items():
        assert name in choices


def test_the_first_caption_names_lead_and_accompaniment() -> None:
    for seed in range(40):
        piece = compose(seed)
        labels = piece.attributes
        first = describe(piece)[0].lower()
        assert any(word.lower() in first for word in words.INSTRUMENT_WORDS[labels.lead]), first
        if labels.accompaniment and labels.accompaniment != (labels.lead,):
            assert any(word.lower() in first for word in words.INSTRUMENT_WORDS[labels.accompaniment[0]])


def test_a_lone_instrument_is_called_solo_and_a_band_never_alone() -> None:
    solo = Attributes("classical", "sad", 2, "minor", 70.0, "cello", (), "", False, "")
    alone = re.compile(r"\b(alone|unaccompanied|only a|by itself|solo cello)\b")
    assert sum(bool(alone.search(text)) for text in captions_of(solo, 3, count=30)) >= 8
    band = replace(solo, accompaniment=("piano",), bass="double bass", drums=True)
    assert not any(
        re.search(r"alone|unaccompanied|only a|by itself", t) for t in captions_of(band, 3, count=60)
    )


def test_three_beats_are_only_named_in_three_four() -> None:
    labels = Attributes("waltz", "happy", 0, "major", 120.0, "flute", ("piano",), "", False, "")
    three = re.compile(r"3/4|three-four|triple time|waltz time")
    assert any(three.search(text) for text in captions_of(labels, 1, count=60, metre=3))
    assert not any(three.search(text) for text in captions_of(replace(labels, genre="folk"), 1, 60, metre=4))


def test_captions_vary_widely(described: list[tuple[Attributes, list[str]]]) -> None:
    captions = [caption for _, captions in described for caption in captions[:4]]
    assert len(set(captions)) >= 0.99 * len(captions)
    assert len({word for text in captions for word in re.findall(r"[a-z]+", text)}) >= 550


def test_a_count_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="count of 1 or more"):
        describe(compose(1), count=0)


def test_articles_follow_sound() -> None:
    assert with_articles("a organ in a 80 bpm tune, a upright bass, a strings") == (
        "an organ in an 80 bpm tune, an upright bass, strings"
    )
