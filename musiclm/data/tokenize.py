"""`musiclm tokenize`: recordings to a token store, through the frozen tokenizers of a bundle.

Recordings are dealt into shards by their order; each process makes whole shards, so that a killed run loses
at most the shards it was at, and a later run makes only what is missing. A recording that turns out to be
unusable is left out and reported; the work goes on.
"""

import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from musiclm.bundle import Bundle, merge
from musiclm.data.left_out import LeftOut, Report, counted, reason_of
from musiclm.data.pieces import in_pieces, load
from musiclm.data.remote import written_at
from musiclm.data.reuse import KnownRows, source_file
from musiclm.data.sources import MANY, Recording, SourceOptions, as_text, find_recordings
from musiclm.data.store import (
    DESCRIPTION,
    UNFINISHED,
    StoreDescription,
    TokenRow,
    quantizer_of,
    read_description,
    shard_path,
    shards_of,
    write_codebooks,
    write_description,
    write_shard,
)
from musiclm.data.stream_makers import MAKERS, Maker, Material, listener_of, parts_said, score_makers
from musiclm.files import not_left_empty, only_writer, shown
from musiclm.machine.device import Device, choose_device
from musiclm.machine.executors import Executor, choose_executor
from musiclm.progress import Progress, progress
from musiclm.score.codes import PART_OF
from musiclm.score.listener import ScoreListener
from musiclm.score.score import PARTS

MELODY = ("melody_embedding", "melody_quantizer")  # of bundles that have them
NEEDED = ("semantic", "mulan")  # streams of every store: the clock of its crops, and what the music is


class Tokenizers:
    """The frozen tokenizers that a store needs, as makers of its streams."""

    def __init__(self, makers: Iterable[Maker], listener: ScoreListener | None = None) -> None:
        self.makers = tuple(makers)
        self.listener = listener
        self.sample_rate = max(maker.sample_rate for maker in self.makers)

    @classmethod
    def load(cls, bundle: Bundle, device: str = "cpu") -> "Tokenizers":
        """Those of a bundle, and those of the score."""
        made = (maker(bundle, device) for maker in MAKERS)
        listener = listener_of(bundle, device)
        return cls([*(maker for maker in made if maker is not None), *score_makers(listener)], listener)

    def only(self, names: Collection[str] | None) -> "Tokenizers":
        """Those that make the streams of these names; None: all.

        Raises:
            ValueError: none of them makes one of these.
        """
        if names is None:
            return self
        made = [maker.stream.name for maker in self.makers]
        if unknown := [name for name in names if name not in made]:
            raise ValueError(f"expected streams among {', '.join(made)}, got {', '.join(unknown)}")
        return Tokenizers((maker for maker in self.makers if maker.stream.name in names), self.listener)

    def describe(self, fingerprints: dict[str, str]) -> StoreDescription:
        """What they make, by components of these fingerprints."""
        return StoreDescription(tuple(maker.stream for maker in self.makers), fingerprints)

    def codebooks(self) -> dict[str, Tensor]:
        """What the codes stand for, [levels, codebook_size, D] by stream."""
        return {maker.stream.name: maker.codebooks for maker in self.makers if maker.codebooks is not None}

    @torch.inference_mode()
    def tokenize(self, recording: Recording, warn: Callable[[str], None] | None = None) -> TokenRow:
        """One recording as tokens, each kind on its own clock; `warn` is told of what is odd about it.

        Raises:
            OSError, ValueError: it cannot be read, or a tokenizer makes nothing of it that can be kept.
        """
        # The waveform is held whole, at most 0.7 GB; all else goes window by window.
        audio = load(recording, self.sample_rate, warn=warn)
        material, streams = Material(recording, audio, self.listener), {}
        for maker in self.makers:
            kept = np.uint16 if maker.stream.kind == "tokens" else np.float16
            streams[maker.stream.name] = maker(material).cpu().numpy().astype(kept)
        return TokenRow(
            id=recording.id,
            path=as_text(str(recording.path)),
            seconds=audio.seconds,
            licence=recording.licence,
            split=recording.split,
            captions=list(recording.captions),
            streams=streams,
        )


@dataclass(frozen=True)
class Shard:
    """A shard to be made: its recordings, and the rows of those whose tokens are known already."""

    path: Path
    recordings: list[Recording]
    rows: list[TokenRow | None]


def tokenize(
    audio: list[Path],
    out: Path = Path("tokens"),
    bundle: str = "default",
    shard_size: int = 32,
    workers: int = 0,
    strict: bool = False,
    device: Device = "auto",
    streams: list[str] | None = None,
    ray: str | None = None,
    source: SourceOptions = SourceOptions(),  # noqa: B008
) -> None:
    """Turn recordings into a token store that the stages train on.

    Args:
        audio: audio files, folders of them, tables (csv, tsv, jsonl, those of public sets), lists, patterns.
            What cannot be used is left out, and stands in left_out.tsv in the store with its reason.
        out: the folder of the store, which will hold these recordings and no others; recordings that it holds
            already are not tokenized again.
        bundle: the tokenizers: a shipped bundle's name, a folder, or a Hugging Face id.
        shard_size: recordings in a shard.
        workers: processes; 0 takes one per CPU that may be used. On a GPU there is always one: several would
            only wait for each other.
        strict: exit with 2 if any file is left out: before the work begins where that is known by then.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.
        streams: those to make, such as [semantic,mulan,beat,chord] for a semantic stage alone; by default all
            that the bundle's tokenizers make.
        ray: address of a Ray cluster whose tasks make the shards, or local, one on this machine; its nodes
            see the same files. A task has a CPU, and a GPU where the device is auto and the cluster has some.
        source: how tables are read, and what is held out.
    """
    if streams is not None and (missing := [name for name in NEEDED if name not in streams]):
        raise ValueError(f"expected {' and '.join(NEEDED)} among the streams: no {missing[0]} was named")
    if shard_size < 1 or workers < 0:
        raise ValueError(
            f"expected a shard_size of 1 or more and workers of 0 or more, got {shard_size}, {workers}"
        )
    place = device if ray is not None and device == "auto" else str(choose_device(device))
    if ray is None and place != "cpu":
        if workers > 1:  # each would load the models there, and wait for the others
            print(f"tokenize: one process on {place}, not {workers}", file=sys.stderr)
        workers = 1
    tokenizers = Bundle.find(bundle)
    if len(set(MELODY) & set(tokenizers.components)) == 1:
        raise ValueError(
            f"expected both {' and '.join(MELODY)} in {bundle}, or neither: pack the other as well"
        )
    with written_at(out) as folder, not_left_empty(folder), only_writer(folder):
        report = Report(folder, strict=strict)
        recordings = in_pieces(find_recordings(audio, report, source))
        report.check(len(recordings), ", ".join(map(shown, audio)))
        executor = choose_executor(ray, workers, gpus=place != "cpu")
        _make_store(recordings, folder, tokenizers, streams, shard_size, executor, place, report)
        taken = len(report.remaining(recordings))
        print(f"tokens of {counted(taken, 'recording')}: {shown(out)}")
        report.close(taken)


def _make_store(
    recordings: list[Recording],
    out: Path,
    source: Bundle,
    chosen: list[str] | None,
    shard_size: int,
    executor: Executor,
    device: str,
    report: Report,
) -> None:
    """Bring the store up to date: it holds these recordings, and no others."""
    tokenizers = _those_of_store(Tokenizers.load(source).only(chosen), out, recordings)
    streams = tokenizers.describe({}).streams
    makers = [role for stream in streams for role in stream.made_by]
    description = StoreDescription(streams, {role: source.fingerprint(role) for role in makers})
    write_description(out, description, source)
    for stream in description.embeddings:
        quantizer = stream.made_by[-1]
        if not quantizer_of(out, quantizer).is_dir():
            merge([source], out / quantizer, {}, only=[quantizer])
    write_codebooks(out, tokenizers.codebooks())

    known = KnownRows(out, description)
    # Files that may have been moved are read for their hashes.
    few = len(recordings) < MANY
    asked = recordings if few else progress(recordings, total=len(recordings), description="compare")
    found = list(report.each(asked, known.row))
    shards, wanted = [], set()
    for index, start in enumerate(range(0, len(found), shard_size)):
        members, rows = zip(*found[start : start + shard_size], strict=True)
        wanted.add(shard_path(out, index))
        if not known.is_whole(shard_path(out, index), list(rows)):
            shards.append(Shard(shard_path(out, index), list(members), list(rows)))
    stale = set(shards_of(out)) - wanted
    if shards or stale:
        (out / UNFINISHED).touch()
    names = [stream.name for stream in streams]
    _make_shards(shards, source, names, executor, device, report)
    report.check_any(len(report.remaining(recordings)), "what was found")
    for shard in stale:
        shard.unlink()
    (out / UNFINISHED).unlink(missing_ok=True)


def _those_of_store(tokenizers: Tokenizers, out: Path, recordings: Iterable[Recording]) -> Tokenizers:
    """The tokenizers of a store, without streams of the score that say nothing of any recording.

    A stage follows every stream of its store: of one that is absent everywhere it would learn nothing, and
    yet be asked to follow it. A store that is there and lacks some of the streams stays without them.
    """
    said = PARTS if tokenizers.listener is not None else parts_said(recordings)
    made = [maker.stream.name for maker in tokenizers.makers]
    wanted = [name for name in made if name not in PART_OF or PART_OF[name] in said]
    if (out / DESCRIPTION).is_file():
        kept = {stream.name for stream in read_description(out).streams}
        if missing := [name for name in wanted if name not in kept]:
            print(
                f"tokenize: {shown(out)} has no {', '.join(missing)}, and stays without: "
                "name a new folder for them",
                file=sys.stderr,
            )
        wanted = [name for name in made if name in kept]
    return tokenizers.only(wanted)


def _make_shards(
    shards: list[Shard], source: Bundle, streams: list[str], executor: Executor, device: str, report: Report
) -> None:
    """Make shards in many processes; what they cannot tokenize goes to the report."""
    new = [shard for shard in shards if None in shard.rows]
    with Progress("tokenize", len(shards), unit="shard") as counter:
        for shard in shards:
            if None not in shard.rows:
                write_shard(shard.path, [row for row in shard.rows if row])
                counter.advance()
        make = partial(_make_shard, bundle=source.path, streams=streams, device=device)
        for left_out, warnings in executor.run(make, new):
            for entry in left_out:
                report.leave_out(entry.path, entry.reason)
            for entry in warnings:
                report.warn(entry.path, entry.reason)
            report.write()
            counter.advance()


@cache
def _tokenizers(bundle: Path, device: str) -> Tokenizers:
    """Those of a process. Its first task loads them, and not its start, whose errors nobody is told."""
    if device == "cpu":
        torch.set_num_threads(1)  # each process has a core
    return Tokenizers.load(Bundle(bundle), device)


def _make_shard(
    shard: Shard, bundle: Path, streams: list[str], device: str
) -> tuple[list[LeftOut], list[LeftOut]]:
    """Write a shard; returns the recordings that could not be tokenized, and warnings of others."""
    try:
        tokenizers = _tokenizers(bundle, str(choose_device(device))).only(streams)
    except Exception as error:
        raise OSError(f"the tokenizers of {shown(bundle)} cannot be loaded: {reason_of(error)}") from error
    rows, left_out = [], []
    warnings: list[LeftOut] = []
    for recording, known in zip(shard.recordings, shard.rows, strict=True):
        if known is not None:
            rows.append(known)
            continue
        try:
            file = source_file(recording)
            found: list[str] = []
            rows.append(replace(tokenizers.tokenize(recording, found.append), source=file))
            warnings += [LeftOut(recording.path, warning) for warning in found]
        except Exception as error:  # whatever is wrong with one recording must not stop the others
            left_out.append(LeftOut(recording.path, reason_of(error)))
    write_shard(shard.path, rows)
    return left_out, warnings
