"""The steps of the ladder: what becomes of a clip on its way through a model, from itself to words alone."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from musiclm.audio import Audio
from musiclm.evaluate.labelled_clips import Clip
from musiclm.generation.components import follows
from musiclm.generation.conditioning import ConditioningSchedule
from musiclm.generation.diffusion_decoder import DiffusionDecoder
from musiclm.generation.pipeline import MusicLM
from musiclm.generation.token_decoder import TokenDecoder

Step = Callable[[Clip, int], Audio]  # of a clip and a seed

ORIGINAL = "original"
TRUE_PHASES = "codec, the clip's own phases"
CODEC = "codec"
TRUE_TOKENS = "true semantic tokens, sound drawn"
EMBEDDING = "all drawn, from its audio embedding"
CAPTION = "all drawn, from its caption"
SCORE = "all drawn, from its caption and score"
MELODY = "all drawn, from its caption and melody"


def steps_of(model: MusicLM, *, captions: bool, scores: bool = False) -> dict[str, Step]:
    """The steps that a model has, in order; those from words and scores only where the clips have some."""
    ways = _Ways(model)
    steps: dict[str, Step] = {ORIGINAL: lambda clip, seed: clip.audio}
    if isinstance(model.decoder, TokenDecoder | DiffusionDecoder):
        steps |= {TRUE_PHASES: ways.in_phase, CODEC: ways.coded}
    if isinstance(model.decoder, TokenDecoder):
        steps[ways.coarse_name] = ways.coarse
    steps[TRUE_TOKENS] = ways.true_tokens
    steps[EMBEDDING] = ways.embedding
    if captions:
        steps[CAPTION] = ways.caption
        if scores and model.prompts.score_reader.follows:
            steps[SCORE] = ways.score
        if follows("melody", model.semantic_stage, model.decoder):
            steps[MELODY] = ways.melody
    return steps


class _Ways:
    def __init__(self, model: MusicLM) -> None:
        self.model = model

    @property
    def coarse_name(self) -> str:
        decoder = self._decoder
        return f"codec, {decoder.coarse.layout.target.levels} of {decoder.codec.num_quantizers} levels"

    def in_phase(self, clip: Clip, seed: int) -> Audio:
        return self._coded(clip, in_phase=True)

    def coded(self, clip: Clip, seed: int) -> Audio:
        return self._coded(clip)

    def coarse(self, clip: Clip, seed: int) -> Audio:
        return self._coded(clip, levels=self._decoder.coarse.layout.target.levels)

    @torch.inference_mode()
    def true_tokens(self, clip: Clip, seed: int) -> Audio:
        tokenizer = self.model.semantic_tokenizer
        semantic = tokenizer.encode(self._waveform(clip, tokenizer.sample_rate))[:, None]  # [1, 1, T]
        joint = self.model.joint_quantizer.encode(self._embedding(clip))[..., None]  # [1, 12, 1]
        return self.model.render(semantic, joint, seed=seed)

    @torch.inference_mode()
    def embedding(self, clip: Clip, seed: int) -> Audio:
        schedule = ConditioningSchedule.of([0.0], self._embedding(clip), self.model.joint_quantizer)
        return self.model.sample(schedule, seconds=clip.audio.seconds, seed=seed)

    def caption(self, clip: Clip, seed: int) -> Audio:
        return self.model.generate(clip.captions[0], seconds=clip.audio.seconds, seed=seed)

    def score(self, clip: Clip, seed: int) -> Audio:
        seconds = clip.audio.seconds
        return self.model.generate(clip.captions[0], seconds=seconds, seed=seed, follow=clip.score)

    def melody(self, clip: Clip, seed: int) -> Audio:
        seconds = clip.audio.seconds
        return self.model.generate(clip.captions[0], seconds=seconds, seed=seed, melody=clip.audio)

    @property
    def _decoder(self) -> TokenDecoder:
        assert isinstance(self.model.decoder, TokenDecoder)
        return self.model.decoder

    @torch.inference_mode()
    def _coded(self, clip: Clip, *, levels: int | None = None, in_phase: bool = False) -> Audio:
        """The clip through the codec, or the autoencoder; `in_phase` tells the decoder how the clip goes."""
        decoder = self.model.decoder
        codec = decoder.autoencoder if isinstance(decoder, DiffusionDecoder) else self._decoder.codec
        waveform = self._waveform(clip, codec.sample_rate)  # [1, 1, L]
        codes = codec.encode(waveform)[:, :levels]  # [1, Q, T]
        length = waveform.shape[2]
        whole = functional.pad(waveform, (0, codes.shape[2] * codec.hop_length - length))
        decoded = codec.decode(codes, prefix=whole if in_phase else None)[0, :, :length]
        return Audio(decoded.cpu(), codec.sample_rate)

    def _embedding(self, clip: Clip) -> Tensor:
        joint = self.model.joint_embedding
        return joint.embed_audio(self._waveform(clip, joint.sample_rate))  # [1, D]

    def _waveform(self, clip: Clip, sample_rate: int) -> Tensor:
        return clip.audio.resample(sample_rate).waveform[None].to(self.model.device)
