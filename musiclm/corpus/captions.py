"""Describes pieces in words: short tags and full sentences, each naming some of the labels.

Every caption is true of its piece. Templates have slots in braces; a template is only used when the
piece can fill all of its slots. The text model learns language from these captions alone, so they
vary widely and include what users type: requests, scenes, comparisons.
"""

import re

import numpy as np

from musiclm.corpus import words
from musiclm.corpus.instruments import INSTRUMENTS
from musiclm.corpus.piece import Attributes, Piece
from musiclm.corpus.theory import key_name

# Sentences that name the lead and what accompanies it.
_DUETS = (
    "A {mood} {lead} {melody} over {touch} {chords}",
    "A {mood} {lead} {melody} over {chords}",
    "A {mood} {lead} {melody} accompanied by {chords}",
    "A {mood} {lead} {melody} with {touch} {chords} underneath",
    "A {lead} plays a {mood} {melody} over {touch} {chords}",
    "{lead} and {backing}, {mood} and {touch}",
    "{mood} {genre} {piece} with {lead} and {backing}",
    "A {mood} {piece} for {lead} and {backing}",
    "A {genre} {piece} in which a {lead} sings over {chords}",
    "{touch} {chords} support a {mood} {lead}",
    "{touch} {chords} under a {tempo} {lead} {melody}",
    "The {lead} carries the {melody} while the {backing} plays {touch} chords",
    "A {tempo}, {mood} {lead} {melody} on top of {touch} {chords}",
    "A duet of {lead} and {backing} that feels {mood}",
    "{lead} lead with {backing} accompaniment, {mood}",
    "A {mood} {lead} with {touch} {chords} behind it",
    "The {lead} sings a {mood} {melody} above a bed of {touch} {chords}",
    "A {lead} in front, {touch} {chords} in the background",
    "Over {touch} {chords}, a {lead} plays a {mood} {melody}",
    "A conversation between {lead} and {backing}, {mood} throughout",
    "{mood} {genre} where the {backing} backs up a {lead}",
    "A {lead} solo supported by {touch} {chords}, {mood} in character",
    "{lead} {melody}, {touch} {chords}, a {mood} atmosphere",
    "Simple {touch} {chords} and a {mood} {lead} on top",
    "The main instrument is a {lead}, the harmony comes from the {backing}",
)
# Sentences that name the lead.
_LEADS = (
    "A {mood} {lead} {melody}",
    "A {mood} {genre} {piece} with {lead}",
    "A {tempo} {genre} {piece} led by a {lead}",
    "A {tempo}, {mood} {piece} featuring {lead}",
    "{mood} {lead} music",
    "{mood} {genre} with a {lead} {melody}",
    "{genre} {piece} played on the {lead}",
    "{genre} music with a {mood} {lead}",
    "{lead} playing a {mood} {melody}",
    "The {lead} plays a {tempo} {mood} {melody}",
    "A {lead} sings a {mood} {melody} {key}",
    "{tempo} {genre} {key}, the {lead} in front",
    "A {mood} {melody} {key}, played by a {lead}",
    "This {genre} {piece} is {mood}, its {melody} played by a {lead}",
    "This is a {mood} {piece} with {lead} {bpm}",
    "An instrumental {genre} {piece} with a {lead} in the lead, {mood} and {tempo}",
    "I would like some {mood} {genre} with {lead}",
    "Play me a {mood} {lead} {melody}",
    "Give me something {mood} with a {lead}",
    "Can you make a {mood} {genre} {piece} with {lead}?",
    "{mood} {lead} music for {scene}",
    "A {lead} {piece} for {scene}",
    "{genre} with {lead}, perfect for {scene}",
    "Background music for {scene}: a {mood} {lead}",
    "A {lead} that sounds like {image}",
    "Music like {image}, with a {lead} {melody}",
    "{lead}, {mood}, something for {scene}",
    "A {mood} {lead} {melody} {bpm}",
    "A {lead} {melody} in {metre}, {mood}",
    "{lead} solo in a {mood} {genre} {piece}",
    "A {lead} plays {tune}, {mood} and {tempo}",
    "{tune} as a {mood} {genre} {piece} for {lead}",
    "The tune of {tune} on the {lead}",
    "{lead} and {bass} in a {mood} {genre} {piece}",
    "A {mood} {lead} over a {bass}",
    "A {lead} {melody} played {adverb}, {mood}",
    "{mood} {lead} {melody}, played {adverb} {key}",
    "A {lead} takes the {melody} in this {mood} {genre} {piece}",
    "The listener hears a {mood} {melody} on the {lead}",
    "The mood is {mood}; the leading instrument is the {lead}",
    "The song features a {lead} playing a {mood} {melody}",
    "An instrumental soundtrack with {lead} for {scene}, {mood} and {tempo}",
    "A {lead} with a {mood} vibe",
    "{mood} vibes, {lead} {melody}, {genre} style",
    "{genre}-style {piece}, {mood} atmosphere, {lead}",
    "Somebody plays a {mood} {melody} on a {lead}",
    "Write a {mood} theme for {scene} and give it to the {lead}",
    "Please generate a {tempo} {genre} {piece} with {lead}",
    "I need {mood} music with a {lead} for {scene}",
    "Imagine {image}: a {mood} {lead} {melody}",
    "{genre}, but {mood}, with {lead}",
    "Listen to a {lead} telling a {mood} story",
    "A short {mood} {piece} where the {lead} repeats its {melody}",
    "A catchy {lead} hook in a {tempo} {genre} {piece}",
)
# Sentences for one instrument all alone.
_SOLOS = (
    "A {mood} {melody} for {lead} alone",
    "Solo {lead}, {mood} and {tempo}",
    "An unaccompanied {lead} plays a {mood} {melody}",
    "Only a {lead}, {mood} and {tempo}",
    "A {mood} solo {lead} {piece}",
    "{lead} by itself, playing a {tempo} {melody} {key}",
)
# A few captions leave the lead open.
_OTHERS = (
    "{mood} {genre} music",
    "A {tempo} {genre} {piece}",
    "{mood} music for {scene}",
    "Something {mood} and {tempo}",
    "A {mood} {piece} {key}",
    "{genre} {bpm} {key}",
    "Music that feels like {image}",
    "{mood} {genre} with {touch} {chords}",
)
_TAILS = ("{drums}", "{drums}", "{drums}", "{key}", "{bpm}", "{in tempo}", "{with bass}", "{in metre}")
# Slots that speak of the same thing: a caption uses one of them.
_TOPICS = {"bpm": "tempo", "in tempo": "tempo", "adverb": "tempo", "with bass": "bass", "in metre": "metre"}
_SLOT = re.compile(r"\{([a-z ]+)\}")
# "synth lead lead" says it once; titles may double their words.
_DOUBLED = re.compile(r"\b(?!row|twinkle)(\w+)(?: \1)+\b", re.IGNORECASE)


def describe(piece: Piece, *, count: int = 4) -> list[str]:
    """`count` different captions of the piece; the same piece always gives the same captions.

    The first names lead and accompaniment in a sentence, the second is a list of tags, the others
    are drawn from everything.
    """
    return describe_attributes(piece.attributes, piece.beats_per_bar, seed=piece.seed, count=count)


def describe_attributes(attributes: Attributes, beats_per_bar: int, *, seed: int, count: int) -> list[str]:
    """Captions from labels alone; `describe` is this with the piece's own seed."""
    if count < 1:
        raise ValueError(f"expected a count of 1 or more captions, got {count}")
    generator = np.random.Generator(np.random.PCG64([seed, 2]))
    describer = _Describer(attributes, beats_per_bar, generator)
    captions: list[str] = []
    for attempt in range(count * 50):
        if len(captions) == count:
            break
        kind = ("duet", "tags")[attempt] if attempt < 2 else ""
        caption = describer.tags() if kind == "tags" else describer.sentence(duet=kind == "duet")
        if kind == "" and generator.random() < 0.3:
            caption = describer.tags()
        if caption.lower() not in {known.lower() for known in captions}:
            captions.append(caption)
    return captions


class _Describer:
    """Draws captions of one piece."""

    def __init__(self, attributes: Attributes, beats_per_bar: int, generator: np.random.Generator) -> None:
        self._attributes = attributes
        self._beats_per_bar = beats_per_bar
        self._generator = generator
        self._slots = self._fillings()

    def _pick(self, choices: tuple[str, ...] | list[str]) -> str:
        return choices[int(self._generator.integers(len(choices)))]

    def _fillings(self) -> dict[str, tuple[str, ...]]:
        """What may stand in each slot; a slot that does not apply is missing."""
        labels = self._attributes
        key = key_name(labels.tonic, labels.mode)
        lead = words.INSTRUMENT_WORDS[labels.lead]
        slots = {
            "mood": words.MOOD_WORDS[labels.mood],
            "genre": words.GENRE_WORDS[labels.genre],
            "lead": lead if labels.genre == "folk" else tuple(word for word in lead if word != "fiddle"),
            "melody": words.MELODIES,
            "piece": words.PIECES,
            "scene": words.SCENES[labels.mood],
            "image": words.IMAGES[labels.mood],
            "touch": words.TOUCHES[labels.mood],
            "key": (f"in {key}", f"in {key}", f"in a {labels.mode} key", f"in the key of {key}"),
            "bpm": (
                f"at {labels.tempo:.0f} bpm",
                f"at {labels.tempo:.0f} BPM",
                f"at {labels.tempo:.0f} beats per minute",
                f"at a tempo of {labels.tempo:.0f} bpm",
            ),
            "drums": words.WITH_DRUMS if labels.drums else words.WITHOUT_DRUMS,
        }
        tempo = next((group for low, high, group in words.TEMPO_WORDS if low <= labels.tempo <= high), ())
        if tempo:
            slots["tempo"] = tempo
            plain = [word for word in tempo if "tempo" not in word and "pace" not in word]
            slots["in tempo"] = tuple(f"{word} tempo" for word in plain)
        adverbs = next((group for low, high, group in words.TEMPO_ADVERBS if low <= labels.tempo <= high), ())
        if adverbs:
            slots["adverb"] = adverbs
        if self._beats_per_bar == 3:
            slots["metre"] = ("three-four time", "3/4 time", "triple time", "waltz time")
            slots["in metre"] = tuple(f"in {name}" for name in slots["metre"])
        if labels.accompaniment:
            slots["backing"], slots["chords"] = self._accompaniment()
        if labels.bass:
            slots["bass"] = self._bass()
            slots["with bass"] = tuple(f"with a {name}" for name in slots["bass"])
        if labels.tune:
            slots["tune"] = (labels.tune,)
        return slots

    def _accompaniment(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The accompaniment as instruments ("piano and strings") and as what they play ("piano chords")."""
        names = self._attributes.accompaniment
        first = words.INSTRUMENT_WORDS[names[0]]
        chords = [
            word if names[0] in ("strings", "synth pad", "choir") else f"{word} chords" for word in first
        ]
        backing = list(first)
        for name in names[1:]:
            other = words.INSTRUMENT_WORDS[name][0]
            backing += [f"{word} and {other}" for word in first[:3]]
            if "pad" in INSTRUMENTS[name].roles:
                chords += [f"{word} chords and {other}" for word in first[:2]]
        return tuple(backing), tuple(chords)

    def _bass(self) -> tuple[str, ...]:
        names = words.INSTRUMENT_WORDS[self._attributes.bass]
        lines = [*names, *(f"{name} line" for name in names if not name.startswith("tuba"))]
        if self._attributes.genre == "jazz" and self._beats_per_bar == 4:
            lines.append("jazz bass line")
        return tuple(lines)

    def _fill(self, template: str) -> str:
        return _SLOT.sub(lambda match: self._pick(self._slots[match[1]]), template)

    def _possible(self, templates: tuple[str, ...]) -> list[str]:
        return [t for t in templates if all(slot in self._slots for slot in _SLOT.findall(t))]

    def _alone(self) -> bool:
        labels = self._attributes
        return not (labels.drums or labels.bass or set(labels.accompaniment) - {labels.lead})

    def sentence(self, *, duet: bool = False) -> str:
        """A caption in a sentence or a phrase; with `duet` one that names the accompaniment too."""
        if self._alone():
            templates: tuple[str, ...] = _SOLOS if duet or self._generator.random() < 0.5 else _LEADS
        elif duet:
            templates = _DUETS
        else:
            draw = self._generator.random()
            templates = _DUETS if draw < 0.35 else _LEADS if draw < 0.88 else _OTHERS
        template = self._pick(self._possible(templates))
        text = self._fill(template)
        said = {_TOPICS.get(slot, slot) for slot in _SLOT.findall(template)}
        draw = self._generator.random()
        for _ in range(0 if draw < 0.3 or text.endswith("?") else 1 if draw < 0.8 else 2):
            slot = self._pick(self._possible(_TAILS))[1:-1]
            if _TOPICS.get(slot, slot) in said:
                continue
            said.add(_TOPICS.get(slot, slot))
            tail = self._fill(f"{{{slot}}}")
            joint = " " if tail.startswith(("with", "at", "in", "over", "and", "driven", "backed")) else ", "
            text += joint + tail
        return self._finish(text)

    def tags(self) -> str:
        """A comma-separated list of labels in random order, the lead usually among them."""
        labels = self._attributes
        lead = self._pick(self._slots["lead"])
        tags = [lead if self._generator.random() < 0.7 else f"{lead} {self._pick(words.MELODIES)}"]
        optional = [
            (0.75, "{mood}"),
            (0.65, "{genre}"),
            (0.45, "{chords}" if self._generator.random() < 0.6 else "{backing}"),
            (0.4, "{tempo}"),
            (0.3, f"{labels.tempo:.0f} bpm"),
            (0.25, key_name(labels.tonic, labels.mode)),
            (0.12, f"{labels.mode} key"),
            (0.25, "{bass}"),
            (0.15, "{metre}"),
            (0.1, "instrumental"),
            (0.3, "{tune}"),
        ]
        if self._alone():
            optional.append((0.6, f"solo {labels.lead}"))
        for probability, template in optional:
            if self._generator.random() < probability and self._possible((template,)):
                tags.append(self._fill(template))
        if self._generator.random() < 0.6:
            tags.append(self._pick(words.DRUM_TAGS if labels.drums else words.NO_DRUM_TAGS))
        unique = list(dict.fromkeys(tags))
        order = self._generator.permutation(len(unique))
        joint = " " if self._generator.random() < 0.1 else ", "
        return joint.join(unique[index] for index in order)

    def _finish(self, text: str) -> str:
        """Articles, capital letter and full stop; some captions are typed carelessly, as users do."""
        text = _DOUBLED.sub(r"\1", with_articles(text))
        draw = self._generator.random()
        if draw < 0.2:
            return text.lower()
        text = text[0].upper() + text[1:]
        return text + "." if draw < 0.6 and not text.endswith("?") else text


def with_articles(text: str) -> str:
    """`text` with "a" turned into "an" where a vowel follows, and dropped before what has no singular."""
    text = re.sub(r"\b([Aa])n? (strings|choir voices|orchestral strings|vibes|whistling)\b", r"\2", text)
    return re.sub(r"\b([Aa]) (?=[aeioAEIO]|u[nprgs]|8\d\b)", r"\1n ", text)
