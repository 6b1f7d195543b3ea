"""The score between words and music: where the beats fall, which key, which chords, whether drums play."""
