"""Recordings, wherever they are named: folders, lists, tables of one's own, and those of public sets.

A source is a module with two functions (`source.py`): one finds its table at a place, the other says what the
table says of the recordings. Where no source finds a table, a place is a folder or a file of audio itself.
"""

from musiclm.data.sources.options import SourceOptions
from musiclm.data.sources.recordings import MANY, Recording, as_text, content_hash, find_recordings
from musiclm.data.sources.source import Row, Split, split_of

__all__ = [
    "MANY",
    "Recording",
    "Row",
    "SourceOptions",
    "Split",
    "as_text",
    "content_hash",
    "find_recordings",
    "split_of",
]
