"""Does the acoustic decoder know training music by heart? Told its true tokens, how near does it come?

Semantic tokens and the joint embedding leave open how music sounds. A decoder that has learned recordings by
heart fills that in as they have it, and its sound is nearer to them than to music it never saw. Both sides
are codec sound: the original is decoded from the codes in the store.
"""

from collections.abc import Sequence

import numpy as np
import torch

from musiclm.audit.acoustic import each_distance, original
from musiclm.audit.continuation import Subject
from musiclm.audit.schema import Rendered, SetRendered
from musiclm.generation.pipeline import MusicLM
from musiclm.metrics.fidelity import MelDistance
from musiclm.metrics.statistics import difference_interval
from musiclm.progress import Progress
from musiclm.tokenizers.protocols import AcousticTokenizer

SETS = ("training", "held-out")


@torch.inference_mode()
def render(
    model: MusicLM,
    codec: AcousticTokenizer,
    subjects: Sequence[Subject],
    *,
    examples: int,
    frame_rate: float,
    seed: int,
) -> Rendered | None:
    """Make stretches of both sets audible from their true tokens; None where a set has fewer than two.

    Args:
        model: whose acoustic decoder is asked.
        codec: that the store's codes are of.
        subjects: the stretches.
        examples: of each set, at most; of 5 s each, and of training music only what comes once.
        frame_rate: of the semantic tokens.
        seed: of the decoder's draws: the n-th stretch of each set has seed + n.
    """
    chosen = {subject.name: subject for subject in subjects if subject.name in SETS}
    # Of music that comes once: what is repeated is asked for more often than it occurs.
    once = {name: np.flatnonzero(subject.examples.copies <= 1)[:examples] for name, subject in chosen.items()}
    counts = {name: len(indices) for name, indices in once.items()}
    if len(counts) < len(SETS) or min(counts.values()) < 2:
        return None
    distances, found = [], []
    with Progress("render", sum(counts.values()), unit="example") as counter:
        for name in SETS:
            subject = chosen[name]
            made, meant = [], []
            for number, index in enumerate(once[name].tolist()):
                tokens = subject.target(0)[index][None, None].to(model.device)
                joint = subject.mulan[index : index + 1].to(model.device)
                made.append(model.render(tokens, joint, seed=seed + number).waveform)
                meant.append(original(codec, subject, index, first=0, frame_rate=frame_rate).waveform)
                counter.advance()
            length = min(waveform.shape[1] for waveform in (*made, *meant))
            sound, truth = (torch.stack([each[:, :length] for each in side]) for side in (made, meant))
            mel = MelDistance(codec.sample_rate)
            own, others = each_distance(mel, sound, truth), each_distance(mel, sound, truth.roll(1, dims=0))
            distances.append(own.numpy())
            found.append(SetRendered(name, counts[name], float(own.mean()), float(others.mean())))
    training, held_out = distances
    low, high = difference_interval(held_out, training)
    return Rendered(found, float(held_out.mean() - training.mean()), low, high)
