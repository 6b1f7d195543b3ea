"""The token store of a user's own music: what the stages read, captions for all of it, what is held out.

All of it can be done again at any time: what is there already is kept.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from musiclm.bundle import Bundle
from musiclm.data.labelling import CORPUS, label
from musiclm.data.left_out import counted
from musiclm.data.sources import SourceOptions
from musiclm.data.sources.source import HELD_OUT_SHARE
from musiclm.data.store import DESCRIPTION, UNFINISHED, TokenRow, TokenStore, read_description, shards_of
from musiclm.data.tokenize import NEEDED, tokenize
from musiclm.files import only_writer, shown
from musiclm.machine.device import Device
from musiclm.score.codes import PART_OF
from musiclm.stages.streams import MADE_BY
from musiclm.tokenizers.codec_latents import CodecLatents
from musiclm.training.adapters import segments_read

CLEAR_OF_END = 2.0  # seconds that crops of whole pieces leave out: there they fade
SHORTEST = 2.0  # seconds of a crop
TRAINING = 128, 256  # crops of an epoch, at least and at most
VALIDATION = 8, 64  # crops that a validation measures, at least and at most
SPARE = 0.5  # seconds: the streams of a recording end within some frames of each other
FEWEST = 3  # recordings, of which one can be spared to measure with


@dataclass(frozen=True)
class Preparing:
    """How music becomes a token store.

    Args:
        vocabulary: of sentences that describe recordings without captions, as of `musiclm label`.
        workers, strict, source: as of `musiclm tokenize`.
        device: where the tokenizers run.
    """

    vocabulary: str = CORPUS
    workers: int = 0
    strict: bool = False
    source: SourceOptions = SourceOptions()  # noqa: RUF009
    device: Device = "auto"


def prepare(
    audio: list[Path], folder: Path, bundle: Bundle, roles: Sequence[str], how: Preparing
) -> TokenStore:
    """Bring the store of the music up to date.

    Args:
        audio: recordings, as of `musiclm tokenize`.
        folder: of the store.
        bundle: whose tokenizers make it.
        roles: of what is to learn from it.
        how: the rest.

    Raises:
        FileNotFoundError, OSError, ValueError: nothing can be used; or the store was begun without what they
            read.
    """
    streams = _streams_read(bundle, roles)
    if (folder / DESCRIPTION).is_file():
        kept = [stream.name for stream in read_description(folder).streams]
        if missing := [name for name in streams if name not in kept and name not in PART_OF]:
            raise ValueError(
                f"expected {shown(folder)} to have the streams that {', '.join(roles)} read, it was begun "
                f"without {', '.join(missing)}: name another --out"
            )
        streams = [*kept, *(name for name in streams if name not in kept)]
    described = _described(folder)
    tokenize(
        audio,
        folder,
        str(bundle.path),
        workers=how.workers,
        strict=how.strict,
        device=how.device,
        streams=streams,
        source=how.source,
    )
    _describe_again(folder, described)
    if any(not row.captions for row in TokenStore(folder)):
        label([folder], how.vocabulary, bundle=str(bundle.path), device=how.device)
    return TokenStore(folder)


@dataclass(frozen=True)
class Crops:
    """Crops that a stage learns from: such as most recordings have room for.

    Args:
        seconds: length of one.
        clear_of_end: seconds at the end of recordings that none reaches.
        training: how many are an epoch, after which is measured: what there is, about four times.
        validation: how many of held-out music are measured: what there is, about twice.
    """

    seconds: float
    clear_of_end: float
    training: int
    validation: int

    @classmethod
    def of(cls, rows: Sequence[TokenRow], wanted: float) -> "Crops":
        """Those of recordings, of the seconds that are wanted or fewer."""
        lengths = sorted(row.seconds for row in rows)
        usual = lengths[len(lengths) // 2]
        whole = usual >= wanted + CLEAR_OF_END
        seconds = wanted if whole else max(min(wanted, (usual - SPARE) // 0.5 * 0.5), SHORTEST)
        held_out = sum(row.seconds for row in rows if row.split != "train")
        learned = sum(lengths) - held_out
        training = min(max(math.ceil(4 * learned / seconds), TRAINING[0]), TRAINING[1])
        validation = min(max(math.ceil(2 * held_out / seconds), VALIDATION[0]), VALIDATION[1])
        return cls(seconds, CLEAR_OF_END if whole else 0.0, training, validation)


def hold_out(folder: Path, seconds: float) -> int:
    """Hold out one recording in twenty, and at least one, where the names alone hold out none.

    Args:
        folder: of the store.
        seconds: that a recording must have to be measured with.

    Returns:
        How many recordings that are long enough are held out.
    """
    store = TokenStore(folder)
    usable = [row for row in store if row.seconds >= seconds + SPARE]
    held_out = sum(row.split == "valid" for row in usable)
    if held_out or len(usable) < FEWEST:
        return held_out
    count = max(round(len(usable) / HELD_OUT_SHARE), 1)
    order = sorted(usable, key=lambda row: (zlib.crc32(row.id.encode()), row.id))
    files = {row.source.hash or row.id for row in order[:count]}  # identical recordings are on one side
    chosen = {row.id for row in store if (row.source.hash or row.id) in files}
    with only_writer(folder):
        store.rewrite(lambda row: replace(row, split="valid") if row.id in chosen else row)
    print(f"held out to measure with: {', '.join(map(shown, sorted(chosen)))}")
    return len(chosen)


def summary_of(store: TokenStore) -> str:
    """How much music there is, in words."""
    rows = list(store)
    minutes = sum(row.seconds for row in rows) / 60
    held_out = sum(row.split != "train" for row in rows)
    return f"{counted(len(rows), 'recording')}, {minutes:.1f} minutes, {held_out} held out"


def _streams_read(bundle: Bundle, roles: Sequence[str]) -> list[str]:
    """The streams that are read and that the bundle's tokenizers make, and those of every store."""
    read = {segment.key for role in roles for segment in segments_read(bundle.load(role))} | set(NEEDED)
    if "denoiser" in roles:  # what its latents are made of, or they themselves
        of_codes = isinstance(bundle.load("autoencoder"), CodecLatents)
        read.add("acoustic" if of_codes else "latents")
    made = [name for name, makers in MADE_BY.items() if set(makers) <= bundle.components.keys()]
    return [name for name in (*made, *PART_OF) if name in read]


def _described(folder: Path) -> dict[str, list[str]]:
    """The captions of a store that is whole, by id; of one that is not, none."""
    if not shards_of(folder) or (folder / UNFINISHED).is_file():
        return {}
    return {row.id: row.captions for row in TokenStore(folder) if row.captions}


def _describe_again(folder: Path, captions: Mapping[str, list[str]]) -> None:
    """Give rows without captions those that an earlier run has found for them."""
    with only_writer(folder):
        TokenStore(folder).rewrite(
            lambda row: (
                replace(row, captions=list(captions[row.id]))
                if not row.captions and row.id in captions
                else row
            )
        )
