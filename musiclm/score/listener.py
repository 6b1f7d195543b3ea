"""Hears the score of a recording. (A placeholder of this hour: the network comes next.)"""

from torch import Tensor, nn

from musiclm.score.score import Score


class ScoreListener(nn.Module):
    """Hears beats, bars, keys, chords and drums."""

    sample_rate = 24_000

    def hear(self, waveform: Tensor) -> Score:
        """The score of a waveform [1, 1, L]."""
        raise NotImplementedError
