"""What makes sound of semantic tokens: the door for every acoustic decoder.

MusicLM's is `token_decoder.py`: coarse and fine codes, then the codec. Whatever else keeps this contract
may stand in its place: the pipeline, streams, stories, continuations, variations, the guard and the audit
know only this.
`tests/generation/test_acoustic_decoder.py` has the contract's tests, and a second decoder.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from musiclm.generation.conditioning import ConditioningSchedule
from musiclm.generation.semantic_sampler import SemanticTokens
from musiclm.generation.windows import OnProgress


class AcousticDecoder(Protocol):
    """Semantic tokens in, blocks of waveform out, as the tokens come."""

    @property
    def sample_rate(self) -> int:
        """Of the waveform, in Hz."""

    @property
    def hop_length(self) -> int:
        """Samples of a frame; an audio prompt's end is cut to whole frames."""

    @property
    def carried_seconds(self) -> float:
        """How much of an audio prompt's end it goes on from."""

    @property
    def joint_length(self) -> int:
        """Samples at the end of an audio prompt that it makes again, cross-faded with what is new."""

    def follows(self, condition: str) -> bool:
        """Whether it has learned what a stream of conditions says, as `melody`."""

    def decode(
        self,
        semantic: SemanticTokens,
        schedule: ConditioningSchedule,
        *,
        length: int,
        generators: Sequence[torch.Generator],
        prefix: Tensor | None = None,
        on_progress: OnProgress,
    ) -> Iterator[Tensor]:
        """Blocks [N, 1, l] of new music, `length` samples or somewhat more in all.

        A sample draws from its own generator alone, and no bit of it depends on the others. With a prefix,
        the first `joint_length` samples are the prefix's last ones, cross-faded with the new music.

        Args:
            semantic: tokens of N samples or of one; asked for no earlier than they are needed.
            schedule: what the music is to be, in seconds from where new music begins.
            length: new samples.
            generators: N sources of randomness.
            prefix: waveform [1, 1, P] of the end of the audio prompt; `semantic.known` tokens are of the same
                time.
            on_progress: called as it advances.
        """
