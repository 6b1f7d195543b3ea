"""What a match sounds like: a continuation, made audible by the acoustic stages, beside the recording.

Both sides are decoded by the codec, the original from the codes in the token store, so no source file is
needed and the codec's own loss counts on neither side.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from musiclm.audio import Audio
from musiclm.audit.continuation import CONTINUATION, Subject
from musiclm.audit.findings import Continued
from musiclm.audit.schema import AudioMeans
from musiclm.bundle.component import DECODERS
from musiclm.generation.pipeline import MusicLM
from musiclm.machine.device import device_of
from musiclm.metrics.fidelity import MelDistance
from musiclm.tokenizers.protocols import AcousticTokenizer

# What a bundle needs to make a match audible: these, and one of the acoustic decoders.
ROLES = {"codec", "joint_embedding", "joint_quantizer", "semantic_stage"}


@dataclass(frozen=True)
class Heard:
    """P pairs as sound: generated and original, and how alike they are [P]; unrelated pairs beside them."""

    clips: list[tuple[Audio, Audio]]
    mulan_cosine: Tensor
    mel_distance: Tensor
    unrelated_mulan_cosine: Tensor
    unrelated_mel_distance: Tensor

    def means(self) -> AudioMeans:
        """Over pairs."""
        return AudioMeans(
            len(self.clips),
            mulan_cosine=float(self.mulan_cosine.mean()),
            mel_distance=float(self.mel_distance.mean()),
            unrelated_mulan_cosine=float(self.unrelated_mulan_cosine.mean()),
            unrelated_mel_distance=float(self.unrelated_mel_distance.mean()),
        )


def is_audible(roles: Collection[str]) -> bool:
    """Whether a bundle with components of these roles can make a match audible."""
    return set(roles) >= ROLES and any(set(roles) >= decoder for decoder in DECODERS.values())


@torch.inference_mode()
def listen(
    model: MusicLM,
    codec: AcousticTokenizer,
    pairs: Sequence[tuple[Continued, int]],
    *,
    frame_rate: float,
    seed: int,
) -> Heard:
    """Make pairs of continuation and target audible and compare them; every original also with the next clip.

    Args:
        model: whose acoustic decoder is used.
        codec: that the store's codes are of.
        pairs: continuations, and which example of each.
        frame_rate: of the semantic tokens.
        seed: of the acoustic stages' draws.
    """
    clips = []
    for each, index in pairs:
        mulan = each.subject.mulan[index : index + 1]
        rendered = model.render(each.generated[index][None, None], mulan, seed=seed)
        first = each.prompt_tokens
        clips.append((rendered, original(codec, each.subject, index, first=first, frame_rate=frame_rate)))
    length = min(audio.waveform.shape[1] for clip in clips for audio in clip)
    generated = torch.stack([audio.waveform[:, :length] for audio, _ in clips])  # [P, 1, L]
    originals = torch.stack([audio.waveform[:, :length] for _, audio in clips])
    made, meant = (
        model.joint_embedding.embed_audio(waveforms.to(model.device)).cpu()
        for waveforms in (generated, originals)
    )  # [P, D]
    mel = MelDistance(codec.sample_rate)
    others = originals.roll(1, dims=0)
    return Heard(
        clips,
        mulan_cosine=(made * meant).sum(dim=1),
        mel_distance=each_distance(mel, generated, originals),
        unrelated_mulan_cosine=(made * meant.roll(1, dims=0)).sum(dim=1),
        unrelated_mel_distance=each_distance(mel, generated, others),
    )


def original(
    codec: AcousticTokenizer, subject: Subject, index: int, *, first: int, frame_rate: float
) -> Audio:
    """The sound of a stretch from its `first` token on, as long as a continuation, from its codes."""
    examples = subject.examples
    row = subject.rows[examples.recordings[index]]
    ratio = codec.frame_rate / frame_rate
    begin = round((int(examples.starts[index]) + first) * ratio)
    codes = torch.from_numpy(row.acoustic[:, begin : begin + round(CONTINUATION * ratio)].astype("int64"))
    return Audio(codec.decode(codes[None].to(device_of(codec)))[0].cpu(), codec.sample_rate)


def each_distance(mel: MelDistance, first: Tensor, second: Tensor) -> Tensor:
    """Mel distance [P] of each pair of waveforms [P, 1, L]."""
    return torch.stack([mel(a[None], b[None]) for a, b in zip(first, second, strict=True)])
