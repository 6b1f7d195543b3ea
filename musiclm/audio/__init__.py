"""Recordings in and out: read by their content, mended where that can be, resampled, written.

Whatever reads a user's audio file reads it through this package.
"""

from musiclm.audio.audio import Audio, check_writable, seconds_of, writing
from musiclm.audio.checks import check_waveform
from musiclm.audio.inspection import AudioInfo, inspect

__all__ = ["Audio", "AudioInfo", "check_waveform", "check_writable", "inspect", "seconds_of", "writing"]
