"""The same music otherwise: another lead instrument, key or tempo, or the melody all alone.

Melody training needs pairs that share nothing but their melody (MusicLM, appendix C).
"""

from dataclasses import replace

from musiclm.corpus.attributes import FASTEST, SLOWEST
from musiclm.corpus.instruments import INSTRUMENTS, LEADS
from musiclm.corpus.piece import Chord, Note, Piece, Track
from musiclm.corpus.theory import nearest


def rearrange(
    piece: Piece,
    *,
    lead: str | None = None,
    transpose: int = 0,
    tempo: float | None = None,
    alone: bool = False,
    piece_id: str | None = None,
) -> Piece:
    """`piece` with another lead, `transpose` semitones up or down, at another tempo, or its lead `alone`.

    Notes keep their beats; a lead moves to the octave its instrument plays. The labels follow. A
    ValueError tells of an unknown lead or a tempo outside the corpus's range.
    """
    labels = piece.attributes
    name = labels.lead if lead is None else lead
    speed = labels.tempo if tempo is None else float(tempo)
    if name not in LEADS:
        raise ValueError(f"unknown lead {name!r}; known are: {', '.join(LEADS)}")
    if not SLOWEST <= speed <= FASTEST:
        raise ValueError(f"expected a tempo of {SLOWEST} to {FASTEST} bpm, got {speed}")
    tracks = [
        _move_lead(track, name, transpose) if track.role == "lead" else _move(track, transpose)
        for track in piece.tracks
        if track.role == "lead" or not alone
    ]
    changed = replace(labels, lead=name, tempo=speed, tonic=(labels.tonic + transpose) % 12)
    if alone:
        changed = replace(changed, accompaniment=(), bass="", drums=False)
    return replace(
        piece,
        id=piece.id if piece_id is None else piece_id,
        attributes=changed,
        tracks=tuple(tracks),
        chords=tuple(Chord(c.start, (c.root + transpose) % 12, c.quality) for c in piece.chords),
    )


def _move_lead(track: Track, name: str, transpose: int) -> Track:
    instrument = INSTRUMENTS[name]
    pitches = [note.pitch + transpose for note in track.notes]
    centre = (instrument.lead_low + instrument.lead_high) / 2
    octave = 12 * round((centre - (min(pitches) + max(pitches)) / 2) / 12)
    notes = _transposed(track.notes, transpose + octave, instrument.lowest, instrument.highest)
    return Track(track.role, name, instrument.program, notes)


def _move(track: Track, transpose: int) -> Track:
    if track.is_drum:
        return track
    instrument = INSTRUMENTS[track.instrument]
    nearer = (transpose + 6) % 12 - 6  # accompaniment stays in its register
    return replace(track, notes=_transposed(track.notes, nearer, instrument.lowest, instrument.highest))


def _transposed(notes: tuple[Note, ...], semitones: int, low: int, high: int) -> tuple[Note, ...]:
    return tuple(
        replace(
            note, pitch=nearest(note.pitch + semitones, ((note.pitch + semitones) % 12,), low=low, high=high)
        )
        for note in notes
    )
