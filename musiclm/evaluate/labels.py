"""Does music have the labels of the real music that it stands for? `musiclm evaluate labels`: the KLD.

Who labels is PaSST, from a published file, whose 527 labels are AudioSet's; or, without one, the listener
that ships, who knows the reference corpus's leads, genres and drums, and of other music little.

Clips are compared with the real recordings of the same name, as with MusicCaps, whose captions describe
recordings (MusicLM, sec. 5.1). Beside it stands the divergence from all other recordings, which knowing
nothing gives.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from musiclm.evaluate.embedders import Embedder, hash_of
from musiclm.evaluate.found import Found
from musiclm.evaluate.listener import SAMPLE_RATE, SHORTEST, Listener, fingerprint, log_mels
from musiclm.evaluate.pictures import intervals
from musiclm.evaluate.results import Table, write_results
from musiclm.evaluate.summary import Summary
from musiclm.files import only_writer_to, write_whole
from musiclm.machine.device import Device, choose_device
from musiclm.metrics.labels import label_divergences
from musiclm.metrics.retrieval import others_mean
from musiclm.plots import sheet


@dataclass(frozen=True)
class Divergence:
    """The mean divergence of clips from their own recordings, and from all others."""

    own: Summary
    shuffled: Summary

    @classmethod
    def of(cls, generated: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> "Divergence":
        """Of probabilities of windows [W, labels], by the names that both have.

        Raises:
            ValueError: fewer than two names.
        """
        names = sorted(set(generated) & set(reference))
        if len(names) < 2:
            raise ValueError(
                f"expected 2 clips or more with the names of recordings of the reference, got {len(names)}"
            )
        target, other = (
            torch.stack([each[name].mean(dim=0) for name in names]) for each in (reference, generated)
        )
        divergences = label_divergences(target, other)  # [N, N]
        own, others = divergences.diagonal().tolist(), others_mean(divergences.T).tolist()
        return cls(Summary.mean(own), Summary.mean(others))


@only_writer_to("out")
def labels(
    generated: list[Path],
    *,
    passt: Path | None = None,
    reference: Path = Path("corpus"),
    out: Path | None = None,
    strict: bool = False,
    device: Device = "auto",
) -> None:
    """Print how far the labels of clips are from those of the real recordings of the same names (KLD).

    Args:
        generated: audio files, or folders of them.
        passt: a published file of PaSST's weights (passt-s-f128-p16-s10-ap.476-swa.pt), which labels both;
            without it the listener that ships does, who knows the reference corpus's leads, genres and drums.
        reference: a folder of real music, of the same names.
        out: a folder for labels.json and labels.svg.
        strict: exit with 2 if any file is left out.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.

    Raises:
        FileNotFoundError: nothing at one of the paths.
        ValueError: fewer than two clips have a recording of their name.
    """
    place = choose_device(device)
    folders = {
        "generated": Found.at(generated, strict=strict),
        "reference": Found.at([reference], strict=strict),
    }
    classifier = corpus_listener() if passt is None else passt_at(passt, place)
    first, second = (classifier.embed(found) for found in folders.values())
    divergence = Divergence.of(first, second)
    title = f"KLD by {classifier.name}"
    print(f"{f'{title} ({classifier.hash[:8]})':<38}{'own recording':>24}{'shuffled':>24}")
    print(f"{f'  {divergence.own.clips} clips':<38}{divergence.own!s:>24}{divergence.shuffled!s:>24}")
    if out is not None:
        accounts = {
            name: found.account(found.report.remaining(found.recordings)) for name, found in folders.items()
        }
        content = {
            "classifier": {"name": classifier.name, "hash": classifier.hash},
            "sample_rate": classifier.model.sample_rate,
            "kld": asdict(divergence),
            "folders": accounts,
        }
        rows = [[str(divergence.own), str(divergence.shuffled), str(divergence.own.clips)]]
        notes = [f"By {classifier.name} `{classifier.hash[:8]}`, means with 95 % intervals."]
        table = Table("Whether it has the labels of real music", ["KLD", "shuffled", "N"], rows, notes)
        print(write_results(out / "labels.json", "evaluate labels", content, table))
        panel = intervals(title, {"own recording": divergence.own, "shuffled": divergence.shuffled})
        assert panel is not None  # of two clips there are means
        write_whole(out / "labels.svg", sheet([panel], "Divergence of labels").encode())
        print(out / "labels.svg")


class ListenerLabels(torch.nn.Module):
    """The shares of the listener's leads, genres, and no drums or drums: three divergences that add up."""

    sample_rate = SAMPLE_RATE

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self.timbre = listener.timbre

    def embed_windows(self, waveform: Tensor) -> Tensor:
        """Shares [1, labels] of one recording [1, 1, L], listened to as a whole."""
        if waveform.shape[2] < SHORTEST * SAMPLE_RATE:
            raise ValueError(f"it is shorter than {SHORTEST:g} s: the listener cannot tell what it is")
        logits = self.timbre(log_mels(waveform[0, 0])[None])
        return torch.cat([each.softmax(dim=1) for each in logits], dim=1)


def corpus_listener() -> Embedder:
    """The listener that ships, as a classifier."""
    return Embedder("the corpus's listener", fingerprint(), ListenerLabels(Listener.load()))


def passt_at(file: Path, device: torch.device) -> Embedder:
    """The classifier of a published file.

    Raises:
        FileNotFoundError, ValueError: there is none, or it is another model's.
    """
    from musiclm.tokenizers.passt import read_passt

    return Embedder("PaSST", hash_of(file), read_passt(file).to(device))
