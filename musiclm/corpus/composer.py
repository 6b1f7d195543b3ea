"""Composes a piece of 30–45 s from a seed: labels, form, harmony, melody and arrangement."""

from dataclasses import replace

import numpy as np

from musiclm.corpus.arrange import (
    Bar,
    Voicings,
    chord_register,
    play_bass,
    play_chords,
    play_counter,
    play_drums,
    play_pad,
    strikes_per_beat,
)
from musiclm.corpus.attributes import check_attributes, draw_attributes
from musiclm.corpus.form import Form, plan
from musiclm.corpus.genres import GENRES, MOODS, Genre, Mood
from musiclm.corpus.instruments import DRUMS, INSTRUMENTS, PERCUSSION, Instrument
from musiclm.corpus.melody import MelodyWriter, Singer, Tone
from musiclm.corpus.patterns import ACCOMPANIMENT, BASS, DRUMS_OF, Beat
from musiclm.corpus.piece import Attributes, Note, Piece, Track, velocity_within
from musiclm.corpus.theory import chord_tones, nearest

_RELEASE = 0.7  # seconds at the end of the piece for the last notes to die away
_GENTLE = frozenset({"waltz", "folk", "classical", "bossa nova", "ambient"})  # no toms in their fills


def compose(seed: int, *, attributes: Attributes | None = None, piece_id: str | None = None) -> Piece:
    """A whole piece; the same seed and labels give the same piece.

    `attributes` fixes the labels (a ValueError tells what cannot be), otherwise they are drawn from
    `seed`. `piece_id` defaults to the seed in eight digits.
    """
    if seed < 0:
        raise ValueError(f"expected a seed of 0 or more, got {seed}")
    if attributes is None:
        attributes = draw_attributes(np.random.Generator(np.random.PCG64(seed)))
    check_attributes(attributes)
    # A stream of its own for the music: fixing the labels does not shift what is drawn after them.
    generator = np.random.Generator(np.random.PCG64([seed, 1]))
    form = plan(attributes, generator)
    arranger = _Arranger(attributes, form, generator)
    tracks = tuple(_swing(track, arranger.genre.swing) for track in arranger.tracks())
    return Piece(
        id=piece_id if piece_id is not None else f"{seed:08d}",
        seed=seed,
        attributes=attributes,
        tracks=tuple(_within(track, form.beats) for track in tracks),
        chords=form.chords,
        beats=form.beats,
        beats_per_bar=form.beats_per_bar,
    )


def _swing(track: Track, swing: float) -> Track:
    """Bends the time inside each beat so that its second half begins at `swing` (0.5 is straight)."""
    if swing == 0.5:
        return track

    def bend(beat: float) -> float:
        whole, part = divmod(beat, 1.0)
        return whole + (part * swing / 0.5 if part < 0.5 else swing + (part - 0.5) * (1 - swing) / 0.5)

    notes = tuple(
        Note(bend(note.start), bend(note.start + note.duration) - bend(note.start), note.pitch, note.velocity)
        for note in track.notes
    )
    return replace(track, notes=notes)


def _within(track: Track, beats: float) -> Track:
    notes = [
        note if note.duration <= beats - note.start else replace(note, duration=beats - note.start)
        for note in track.notes
        if note.start < beats
    ]
    return replace(track, notes=tuple(sorted(notes, key=lambda note: (note.start, note.pitch))))


class _Arranger:
    """Gives every instrument its part, bar after bar."""

    def __init__(self, attributes: Attributes, form: Form, generator: np.random.Generator) -> None:
        self.attributes = attributes
        self.form = form
        self.generator = generator
        self.genre: Genre = GENRES[attributes.genre]
        self.mood: Mood = MOODS[attributes.mood]
        self.lead: Instrument = INSTRUMENTS[attributes.lead]
        self.bars = self._bars()
        self.last = form.beats - _RELEASE * attributes.tempo / 60.0  # beat where held notes let go

    def tracks(self) -> list[Track]:
        melody = self._melody()
        tracks = [self._track("lead", self.attributes.lead, self._sing(melody))]
        for index, name in enumerate(self.attributes.accompaniment):
            instrument = INSTRUMENTS[name]
            if index == 0:
                tracks.append(self._track("chords", name, self._chords(instrument)))
            elif "pad" in instrument.roles:
                tracks.append(self._track("pad", name, self._pad(instrument)))
            else:
                tones = [tone for phrase in melody for tone in phrase]
                tracks.append(self._track("counter", name, self._counter(instrument, tones)))
        if self.attributes.bass:
            tracks.append(self._track("bass", self.attributes.bass, self._bass()))
        if self.attributes.drums:
            tracks.append(Track("drums", DRUMS, 0, tuple(self._drums())))
        return tracks

    def _track(self, role: str, name: str, notes: list[Note]) -> Track:
        return Track(role, name, INSTRUMENTS[name].program, tuple(notes))

    def _bars(self) -> list[Bar]:
        """All bars before the last chord; the music swells towards the last phrase."""
        beats = self.form.beats_per_bar
        bars = [
            Bar(float(index * beats), beats, 0.4, index == self.form.intro_bars - 1, index == 0)
            for index in range(self.form.intro_bars)
        ]
        count = len(self.form.phrases)
        for index, phrase in enumerate(self.form.phrases):
            swell = index / max(count - 1, 1)
            intensity = 0.55 + 0.35 * swell + (0.1 if phrase.letter != "A" else 0.0)
            for bar in range(phrase.bars):
                start = phrase.start + bar * beats
                bars.append(Bar(start, beats, min(intensity, 1.0), bar == phrase.bars - 1, bar == 0))
        return bars

    def _contrasting(self, bar: Bar) -> bool:
        """Whether the bar lies in a phrase that is not an A phrase."""
        for phrase in reversed(self.form.phrases):
            if bar.start >= phrase.start:
                return phrase.letter != "A"
        return False

    # The melody

    def _register(self) -> tuple[int, int]:
        low = max(self.lead.lowest, self.lead.lead_low + self.mood.register)
        high = min(self.lead.highest, self.lead.lead_high + self.mood.register)
        return min(low, high - 14), high

    def _melody(self) -> list[list[Tone]]:
        low, high = self._register()
        if self.form.melody is not None:
            return self._place_tune(self.form.melody)
        singer = Singer(
            self.attributes.tonic,
            self.attributes.mode,
            low,
            high,
            self.form.beats_per_bar,
            self.attributes.tempo,
            self.mood,
            self.lead.shortest,
        )
        writer = MelodyWriter(singer, self.form.chords, self.generator)
        return [writer.phrase(phrase) for phrase in self.form.phrases]

    def _place_tune(self, melody: tuple[tuple[Tone, ...], ...]) -> list[list[Tone]]:
        """The tune in the octave nearest to the register that the instrument and mood ask for."""
        low, high = self._register()
        pitches = [tone.pitch for phrase in melody for tone in phrase]
        lowest, highest = min(pitches), max(pitches)
        octaves = range(-4, 5)
        playable = [
            octave
            for octave in octaves
            if lowest + 12 * octave >= self.lead.lowest and highest + 12 * octave <= self.lead.highest
        ]
        centre = (low + high) / 2 + 3  # rather above the accompaniment than within it
        octave = min(playable or octaves, key=lambda o: abs((lowest + highest) / 2 + 12 * o - centre))
        low, high = self.lead.lowest, self.lead.highest
        # A wide tune on a narrow instrument: what does not fit is played an octave off.
        return [
            [
                replace(tone, pitch=nearest(tone.pitch + 12 * octave, (tone.pitch % 12,), low=low, high=high))
                for tone in phrase
            ]
            for phrase in melody
        ]

    def _sing(self, melody: list[list[Tone]]) -> list[Note]:
        notes: list[Note] = []
        for index, phrase in enumerate(melody):
            swell = index / max(len(melody) - 1, 1)
            begin, end = phrase[0].start, phrase[-1].start + phrase[-1].duration
            for tone in phrase:
                arch = np.sin(np.pi * (tone.start - begin) / max(end - begin, 1.0))
                velocity = (
                    self.mood.loudness
                    + self.mood.spread * (0.6 * (tone.accent - 0.5) + 0.4 * (arch - 0.5))
                    + 6.0 * (swell - 0.5)
                    + 4.0 * (self.generator.random() - 0.5)
                )
                long_note = tone.duration >= self.form.beats_per_bar / 2
                legato = max(self.mood.legato, 0.9) if long_note else self.mood.legato
                notes.append(
                    Note(tone.start, tone.duration * legato, tone.pitch, velocity_within(velocity, 50))
                )
        low, high = self._register()
        final = nearest(
            notes[-1].pitch, (self.attributes.tonic,), low=self.lead.lowest, high=self.lead.highest
        )
        if not low <= final <= high:
            final = nearest(notes[-1].pitch, (self.attributes.tonic,), low=low, high=high)
        velocity = velocity_within(self.mood.loudness, 50)
        notes.append(Note(self.form.ending, self.last - self.form.ending, final, velocity))
        return notes

    # The accompaniment

    def _choose(self, lines: tuple[str, ...], *, per_second: float) -> str:
        """A pattern that strikes about `per_second` times a second."""
        beats_per_second = self.attributes.tempo / 60.0
        weights = [
            np.exp(-(np.log2(max(strikes_per_beat(line), 0.1) * beats_per_second / per_second) ** 2))
            for line in lines
        ]
        cumulative = np.cumsum(weights)
        return lines[int(np.searchsorted(cumulative, self.generator.random() * cumulative[-1]))]

    def _level(self, base: float, share: float) -> float:
        return base + share * self.mood.loudness

    def _chords(self, instrument: Instrument) -> list[Note]:
        low, high = chord_register(instrument, self.lead)
        size = 4 if self.genre.seventh_ending or self.mood.busy < 0.4 else 3
        voicings = Voicings(self.form.chords, size=size, low=low, high=high)
        lines = ACCOMPANIMENT[self.genre.name][self.form.beats_per_bar]
        if "pad" in instrument.roles and len(instrument.roles) == 2:  # slow to speak: no broken chords
            calm = tuple(line for line in lines if strikes_per_beat(line) <= 1 and not line[0].isdigit())
            lines = calm or lines
        per_second = 1.0 + 3.5 * self.mood.busy
        main = self._choose(lines, per_second=per_second)
        contrast = self._choose(lines, per_second=per_second * 1.2)
        level = self._level(38.0, 0.28)
        notes: list[Note] = []
        for bar in self.bars:
            line = contrast if self._contrasting(bar) else main
            notes += play_chords(bar, line, self.form.chords, voicings, instrument, level)
        if not self.attributes.bass:
            notes += self._left_hand(instrument, low, level)
        final = voicings.at(self.form.ending)
        roll = 0.08 if not instrument.sustains and self.mood.busy < 0.5 else 0.02
        for index, pitch in enumerate(final):
            start = self.form.ending + roll * index
            notes.append(Note(start, self.last - start, pitch, int(level)))
        return notes

    def _left_hand(self, instrument: Instrument, low: int, level: float) -> list[Note]:
        """Roots under the chords where no bass plays."""
        lowest, highest = max(instrument.lowest, 36), low - 1
        if highest - lowest < 11:
            return []
        notes = []
        ends = [*(chord.start for chord in self.form.chords[1:]), self.last]
        for chord, end in zip(self.form.chords, ends, strict=True):
            pitch = nearest(43, (chord.root,), low=lowest, high=highest)
            start = chord.start
            while start < end - 1e-6:  # struck anew at every bar line
                bar_end = (start // self.form.beats_per_bar + 1) * self.form.beats_per_bar
                stop = end if start >= self.form.ending else min(end, bar_end)
                notes.append(Note(start, (stop - start) * 0.97, pitch, int(level)))
                start = stop
        return notes

    def _pad(self, instrument: Instrument) -> list[Note]:
        voicings = Voicings(self.form.chords, size=3, low=max(48, instrument.lowest), high=67)
        ends = [*(chord.start for chord in self.form.chords[1:]), self.last]
        phrases = self.form.phrases
        late = len(phrases) > 2 and self.genre.name != "ambient" and self.generator.random() < 0.4
        begin = phrases[1].start if late else 0.0
        return play_pad(self.form.chords, ends, voicings, begin=begin, level=self._level(30.0, 0.25))

    def _counter(self, instrument: Instrument, melody: list[Tone]) -> list[Note]:
        phrases = self.form.phrases
        begin = phrases[1].start if len(phrases) > 2 and self.generator.random() < 0.5 else phrases[0].start
        level = self._level(36.0, 0.35)
        notes = play_counter(
            melody,
            self.form.chords,
            instrument,
            start=begin,
            end=self.form.ending,
            beats_per_bar=self.form.beats_per_bar,
            level=level,
        )
        chord = self.form.chords[-1]
        third = chord_tones(chord.root, chord.quality)[1:2]
        pitch = nearest(notes[-1].pitch, third, low=instrument.lowest, high=instrument.highest)
        return [*notes, Note(self.form.ending, self.last - self.form.ending, pitch, int(level))]

    def _bass(self) -> list[Note]:
        instrument = INSTRUMENTS[self.attributes.bass]
        lines = BASS[self.genre.name][self.form.beats_per_bar]
        per_second = 0.9 + 3.0 * self.mood.busy
        main = self._choose(lines, per_second=per_second)
        contrast = self._choose(lines, per_second=per_second * 1.2)
        level = self._level(52.0, 0.38)
        key = (self.attributes.tonic, self.attributes.mode)
        previous = instrument.lowest + 9
        notes: list[Note] = []
        for bar in self.bars:
            line = contrast if self._contrasting(bar) else main
            played = play_bass(bar, line, self.form.chords, key, previous, instrument, level)
            previous = played[0].pitch if played else previous
            notes += played
        tonic = nearest(
            previous, (self.attributes.tonic,), low=instrument.lowest, high=instrument.lowest + 21
        )
        notes.append(Note(self.form.ending, self.last - self.form.ending, tonic, int(level)))
        return notes

    def _drums(self) -> list[Note]:
        beats = DRUMS_OF[self.genre.name][self.form.beats_per_bar]
        level = self._level(50.0, 0.45)
        wanted = self.mood.busy + 0.3 * (self.generator.random() - 0.5)
        main = min(range(len(beats)), key=lambda index: abs(beats[index].busy - wanted))
        notes: list[Note] = []
        for bar in self.bars:
            phrase = self._contrasting(bar)
            beat: Beat = beats[min(main + 1, len(beats) - 1) if phrase else main]
            if bar.start < self.form.intro_bars * bar.beats:
                beat = beats[0]
            loud = level * (0.85 + 0.15 * bar.intensity)
            notes += play_drums(
                bar,
                beat,
                self.generator,
                level=loud,
                fill=bar.last_of_phrase and self.generator.random() < 0.85,
                soft=self.genre.name in _GENTLE,
                crash=bar.first_of_phrase and self.mood.busy > 0.4 and self.genre.name not in _GENTLE,
            )
        for name in ("kick", "tambourine" if self.genre.name in _GENTLE else "crash"):
            notes.append(Note(self.form.ending, 1.0, PERCUSSION[name], velocity_within(level)))
        return notes
