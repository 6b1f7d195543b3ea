"""Do two sounds have the same labels? The divergence of a classifier's probabilities."""

from torch import Tensor

FLOOR = 1e-6  # of a probability, as AudioGen's KLD has it (2209.15352): one that is 0 would decide alone


def label_divergences(reference: Tensor, generated: Tensor) -> Tensor:
    """Kullback-Leibler divergences [N, M] of probabilities [M, labels] from those of references [N, labels].

    In nats: how much the reference's labels surprise whoever expects the generated ones'. MusicLM's KLD (sec.
    5.1) is the mean over pairs, the diagonal.
    """
    target, other = (each.double().clamp_min(FLOOR) for each in (reference, generated))
    entropy = (target * target.log()).sum(dim=1, keepdim=True)  # [N, 1], negative
    return entropy - target @ other.log().T
