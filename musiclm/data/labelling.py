"""`musiclm label`: captions for music that has none, by what a joint embedding finds near (Noise2Music).

Recordings get a table of captions, or text files beside them; a token store, whose embeddings are made
already, gets them in its rows.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from musiclm.bundle import Bundle
from musiclm.data.captions import decode_text
from musiclm.data.left_out import Report, counted
from musiclm.data.pieces import in_pieces, load
from musiclm.data.pseudo_labels import draw_labels, entropy, nearest_sentences
from musiclm.data.sources import Recording, SourceOptions, find_recordings
from musiclm.data.store import DESCRIPTION, TokenStore
from musiclm.files import only_writer, shown, write_whole
from musiclm.machine.device import Device, choose_device
from musiclm.progress import progress
from musiclm.tokenizers.protocols import JointEmbedding

CORPUS = "corpus"  # the vocabulary of the reference corpus's own sentences
COMPOSED = 5000  # pieces whose captions they are
TEXTS_AT_ONCE = 256
ROLE = "joint_embedding"
NOTHING_TO_DO = "every recording has captions: --overwrite true describes them all the same"


def label(
    audio: list[Path],
    vocabulary: str = CORPUS,
    out: Path = Path("labels.jsonl"),
    bundle: str = "default",
    k: int = 10,
    draw: int = 3,
    seed: int = 0,
    beside: bool = False,
    overwrite: bool = False,
    strict: bool = False,
    device: Device = "auto",
    source: SourceOptions = SourceOptions(),  # noqa: B008
) -> None:
    """Describe recordings in sentences of a vocabulary: those that their music is nearest to.

    Args:
        audio: recordings, as of `tokenize`, whose descriptions go to a table; or one token store, whose rows
            get them as captions.
        vocabulary: a text file with a sentence a line; or corpus, the sentences of the reference corpus.
        out: the table, in JSON lines, which is a source of recordings itself. None is written for a store, or
            with beside.
        bundle: whose joint embedding compares: a shipped bundle's name, a folder, or a Hugging Face id.
        k: how many of each recording's nearest sentences come into question.
        draw: how many of them it gets, the rarer the likelier.
        seed: of the draw.
        beside: write a text file beside each recording instead of the table.
        overwrite: describe recordings that have captions as well, in their captions' place.
        strict: exit with 2 if any recording is left out.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.
        source: how tables are read.
    """
    if not 1 <= draw <= k:
        raise ValueError(f"expected a draw of 1 to k, got {draw} of {k}")
    sentences = _sentences(vocabulary)
    found = Bundle.find(bundle)
    if ROLE not in found.components:
        raise ValueError(
            f"expected a bundle with a {ROLE}, {shown(found.path)} has none: choose another --bundle"
        )
    place = str(choose_device(device))
    describe = partial(_labels_of, sentences=sentences, k=k, draw=draw, seed=seed)
    if len(audio) == 1 and (audio[0] / DESCRIPTION).is_file():
        with only_writer(audio[0]):
            _label_store(audio[0], found, place, describe, overwrite=overwrite)
        return
    report = Report(strict=strict)
    recordings = [each for each in find_recordings(audio, report, source) if overwrite or not each.captions]
    if not recordings:
        print(NOTHING_TO_DO)
        return
    joint = found.load(ROLE).to(place)
    asked = progress(recordings, total=len(recordings), description="listen")
    heard = list(report.each(asked, partial(_embedding_of, joint=joint, device=place)))
    report.check_any(len(heard), "what was found")
    described = [recording for recording, _ in heard]
    labels = describe(joint, np.stack([vector for _, vector in heard]), [each.id for each in described])
    if beside:
        for recording, own in zip(described, labels, strict=True):
            write_whole(recording.path.with_suffix(".txt"), ("\n".join(own) + "\n").encode())
        print(f"captions beside {counted(len(described), 'recording')}")
    else:
        rows = [
            {
                "id": each.id,
                "path": _named_from(out.parent, each.path),
                "licence": each.licence,
                "captions": own,
            }
            for each, own in zip(described, labels, strict=True)
        ]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_whole(out, lines.encode("utf-8", "surrogateescape"))
        print(f"captions of {counted(len(described), 'recording')}: {shown(out)}")
    report.close(len(described))


def _label_store(
    folder: Path, bundle: Bundle, device: str, describe: Callable[..., list[list[str]]], *, overwrite: bool
) -> None:
    """Write captions into the rows of a store, shard by shard; after a kill, the same line does it again."""
    store = TokenStore(folder)
    made_by = bundle.current(ROLE, store.description.fingerprints.get(ROLE, ""))
    if made_by != bundle.fingerprint(ROLE):
        raise ValueError(
            f"expected the bundle whose {ROLE} made the store {shown(folder)}, {shown(bundle.path)} has "
            "another: choose another --bundle"
        )
    chosen = [row for row in store if overwrite or not row.captions]
    if not chosen:
        print(NOTHING_TO_DO)
        return
    means = [row.streams["mulan"].astype(np.float32).mean(axis=0) for row in chosen]
    vectors = np.stack([mean / max(float(np.linalg.norm(mean)), 1e-9) for mean in means])
    ids = [row.id for row in chosen]
    own = dict(zip(ids, describe(bundle.load(ROLE).to(device), vectors, ids), strict=True))
    store.rewrite(lambda row: replace(row, captions=own[row.id]) if row.id in own else row)
    print(f"captions of {counted(len(own), 'recording')}: {shown(folder)}")


def _labels_of(
    joint: JointEmbedding,
    vectors: np.ndarray,
    ids: Sequence[str],
    *,
    sentences: Sequence[str],
    k: int,
    draw: int,
    seed: int,
) -> list[list[str]]:
    """The drawn labels of recordings by their embeddings [R, D]; says how many different ones there are."""

    def embed(texts: list[str]) -> np.ndarray:
        starts = range(0, len(texts), TEXTS_AT_ONCE)
        with torch.inference_mode():
            parts = [joint.embed_text(texts[start : start + TEXTS_AT_ONCE]).cpu() for start in starts]
        return torch.cat(parts).float().numpy()

    asked = progress(sentences, total=len(sentences), description="compare")
    nearest = nearest_sentences(vectors, asked, embed, k)
    labels = draw_labels(nearest, ids, draw, seed=seed)
    alike = draw_labels(nearest, ids, draw, seed=seed, balanced=False)
    different = len({each for own in labels for each in own})
    print(
        f"{different:,} of {counted(len(sentences), 'sentence')} used, {entropy(labels):.1f} bits "
        f"(drawn without balance {entropy(alike):.1f})"
    )
    return labels


def _embedding_of(recording: Recording, joint: JointEmbedding, device: str) -> np.ndarray:
    """The mean over a recording's windows, on the unit sphere: [D]."""
    vectors = []
    for piece in in_pieces([recording]):
        waveform = load(piece, joint.sample_rate).waveform[None].to(device)
        with torch.inference_mode():
            vectors.append(joint.embed_audio(waveform)[0].float().cpu().numpy())
    mean: np.ndarray = np.mean(vectors, axis=0)  # of pieces that are equally long
    return mean / max(float(np.linalg.norm(mean)), 1e-9)


def _named_from(folder: Path, path: Path) -> str:
    """A path as a table in the folder names it: from there, where it leads into it."""
    inside = os.path.relpath(path, folder)
    return os.path.abspath(path) if inside.startswith("..") else inside


def _sentences(vocabulary: str) -> list[str]:
    """The sentences of a vocabulary, each once.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or no sentence in it.
    """
    if vocabulary == CORPUS:
        return list(dict.fromkeys(_composed()))
    file = Path(vocabulary)
    if not file.is_file():
        raise FileNotFoundError(
            f"expected a vocabulary, a text with a sentence a line, or {CORPUS}: there is no {shown(file)}"
        )
    lines = (" ".join(line.split()) for line in decode_text(file.read_bytes()).splitlines())
    if not (sentences := list(dict.fromkeys(filter(None, lines)))):
        raise ValueError(f"expected sentences in {shown(file)}, it is empty")
    return sentences


def _composed() -> Iterator[str]:
    from musiclm.corpus.attributes import draw_attributes
    from musiclm.corpus.captions import describe_attributes
    from musiclm.corpus.genres import GENRES

    for seed in range(COMPOSED):
        attributes = draw_attributes(np.random.Generator(np.random.PCG64(seed)))
        meter = GENRES[attributes.genre].metres[0]
        yield from describe_attributes(attributes, meter, seed=seed, count=4)
