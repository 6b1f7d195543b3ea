"""`musiclm audit`: does the semantic stage repeat what it was trained on? (MusicLM, sec. 5.3)

Training examples and, as the control, held-out ones are prompted with their own MuLan tokens and their first
T semantic tokens; what the stage goes on with is compared with what really follows: token by token, and by
the cost of moving one histogram onto the other, under a threshold calibrated on unrelated pairs. The control
says what like music would have given anyway: the difference is the finding.
"""

import platform
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from musiclm.audit import acoustic, calibration, findings
from musiclm.audit.acoustic import Heard
from musiclm.audit.continuation import CONTINUATION, Subject, continuations, planned_streams
from musiclm.audit.examples import identical_recordings
from musiclm.audit.findings import Continued, Metric
from musiclm.audit.material import Material, Request, gather
from musiclm.audit.nearness import Null, nearness, null_costs
from musiclm.audit.rendering import render
from musiclm.audit.report import write_report
from musiclm.audit.schema import (
    AuditedBundle,
    AuditedStore,
    Calibration,
    Fit,
    Made,
    Pair,
    Protocol,
    Report,
)
from musiclm.audit.search import WindowSearch
from musiclm.bundle import Bundle
from musiclm.data.store import TokenStore, read_codebooks
from musiclm.files import only_writer_to
from musiclm.generation.pipeline import MusicLM
from musiclm.machine.device import Device, choose_device
from musiclm.progress import Progress
from musiclm.stages.precision import Precision, prepare_to_decode
from musiclm.stages.stage import Stage
from musiclm.tokenizers.protocols import AcousticTokenizer

PROMPT_TOKENS = (0, 25, 50, 125, 250)  # MusicLM, sec. 5.3
PAIRS_AT_ONCE = 10_000
NEGATIVES = 400_000  # 100,000 would show the rate as well, by a threshold that hangs on a single pair


@only_writer_to("out")
def audit(
    tokens: Path = Path("tokens"),
    out: Path = Path("report"),
    bundle: str = "default",
    examples: int = 2000,
    prompt_tokens: Sequence[int] = PROMPT_TOKENS,
    negatives: int = NEGATIVES,
    false_positive_rate: float = calibration.TARGET,
    clear_of_end: float = 0.0,
    temperature: float = 1.0,
    precision: Precision = "float32",
    search: bool = True,
    audio: bool = True,
    rendered: int = 40,
    seed: int = 0,
    device: Device = "auto",
) -> Report:
    """Tell whether a model repeats its training data, and write a report.

    Args:
        tokens: the token store that its semantic stage was trained on.
        out: folder of the report: report.html, report.json, summary.md, matches.svg.
        bundle: the model: a shipped bundle's name, a folder, or a Hugging Face id; a trained semantic stage
            alone will do.
        examples: stretches of training recordings to ask for.
        prompt_tokens: semantic tokens that are shown (25 a second), each number in turn.
        negatives: unrelated pairs to fit the threshold on, and as many others to verify it on.
        false_positive_rate: that the threshold may have.
        clear_of_end: seconds at the end of recordings that training left out (`clear_of_end` of its crops).
        temperature: of the sampled continuations, which stand beside the greedy ones.
        precision: of the stage's matrices.
        search: look for each continuation in all training recordings, not only in its own.
        audio: make the closest pairs audible, where the bundle is a whole model.
        rendered: stretches of each set, of which sound is made from their true tokens, to tell whether the
            acoustic decoder knows training music by heart; needs a whole model, and codes in the store.
        seed: of every draw.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.

    Returns:
        What was found, as it stands in report.json.
    """
    started = time.monotonic()
    request = Request(
        examples,
        tuple(prompt_tokens),
        negatives,
        false_positive_rate,
        clear_of_end,
        temperature,
        precision,
        seed,
    )
    request.check()
    place = choose_device(device)
    model, store = Bundle.find(bundle), TokenStore(tokens)
    store.check_learned_by(model)
    stage = prepare_to_decode(model.load("semantic_stage").to(place), precision)
    metric = Metric.of(read_codebooks(store.folder)["semantic"][0])
    material = gather(store, request)
    pairs = _negative_pairs(material.subjects[0], len(prompt_tokens), count=negatives, seed=seed)
    yardstick = _yardstick(store) if search else None  # before hours of work: it may be impossible

    work = _work_folder(
        out / ".work", material.digest(f"{model.fingerprint('semantic_stage')} {place.type}", request)
    )
    continued = _continue(stage, material.subjects, request, metric=metric, work=work)
    negative = _negative_costs(continued.greedy("training"), pairs, metric)
    fit = _calibrate(negative, metric, request)
    nearest = findings.closest(continued.ordinary)
    whole = _whole_model(model, bundle, store, device) if audio or rendered else None
    rate = store.description["semantic"].rate
    heard = acoustic.listen(*whole, nearest, frame_rate=rate, seed=seed) if whole and audio else None
    sound = (
        render(*whole, material.subjects, examples=rendered, frame_rate=rate, seed=seed) if whole else None
    )

    report = Report(
        made=_made(0.0, place),  # until everything is measured
        bundle=AuditedBundle(bundle, model.fingerprint(), model.fingerprint("semantic_stage")),
        store=_describe_store(tokens, material),
        protocol=_describe_protocol(request, material, store),
        calibration=fit,
        duplicates=findings.duplicates(
            material.subjects[0], material.population, identical_recordings(material.ordinary)
        ),
        rates=findings.rates(continued.ordinary, fit.tau),
        by_duplicates=findings.by_duplicates(continued.greedy("training"), fit.tau),
        costs=findings.cost_counts(
            np.concatenate(negative), continued.greedy("training"), continued.greedy("held-out")
        ),
        entropy=findings.entropy_points(continued.greedy("training"), fit.tau, seed=seed),
        power=findings.power(material.subjects[0].target(0), metric, fit.tau, seed=seed),
        search=nearness(*yardstick, continued.ordinary) if yardstick else None,
        audio=heard.means() if heard else None,
        closest=_describe_pairs(nearest, heard, store),
        canaries=findings.canaries(continued.greedy("canaries"), material.times, fit.tau),
        rendered=sound,
    )
    report = replace(report, made=_made(time.monotonic() - started, place))
    write_report(out, report, heard.clips if heard else ())
    shutil.rmtree(work.parent)
    print(out / "report.html")
    return report


@dataclass(frozen=True)
class _Continuations:
    """What the stage made of every set."""

    all: list[Continued]

    @property
    def ordinary(self) -> list[Continued]:
        """Those of music that was not planted."""
        return [each for each in self.all if each.subject.name != "canaries"]

    def greedy(self, name: str) -> list[Continued]:
        """Those of one set, the most likely token at each step."""
        return [each for each in self.all if (each.subject.name, each.decoding) == (name, "greedy")]


def _yardstick(store: TokenStore) -> tuple[WindowSearch, Null]:
    """The search of the whole store, and how near unrelated music comes there."""
    search = WindowSearch.build(store)
    return search, null_costs(search, least_entropy=findings.LOW_ENTROPY)


def _continue(
    stage: Stage,
    subjects: Sequence[Subject],
    request: Request,
    *,
    metric: Metric,
    work: Path,
) -> _Continuations:
    """Every subject continued at every prompt length; canaries only greedily and from the longest prompt.

    Of a stage that follows a score, greedily once more, told the stretches' own.
    """
    decodings = (
        ("greedy", "sampled", "planned") if planned_streams(stage, subjects[0]) else ("greedy", "sampled")
    )
    wanted = [
        (subject, decoding, shown)
        for subject in subjects
        for decoding in decodings
        for shown in request.prompt_tokens
        if subject.name != "canaries" or (decoding == "greedy" and shown == max(request.prompt_tokens))
    ]
    made = []
    with Progress("continue", sum(len(subject) for subject, _, _ in wanted), unit="example") as counter:
        for subject, decoding, shown in wanted:
            generated = continuations(
                stage,
                subject,
                prompt_tokens=shown,
                temperature=request.temperature if decoding == "sampled" else 0.0,
                planned=decoding == "planned",
                seed=request.seed,
                folder=work,
                on_rows=counter.advance,
            )
            costs = metric.costs(generated, subject.target(shown))
            made.append(Continued(subject, decoding, shown, generated, costs))
    return _Continuations(made)


def _negative_pairs(subject: Subject, prompts: int, *, count: int, seed: int) -> list[np.ndarray]:
    """Pairs [count, 2] of unrelated examples, of one half of the recordings and of the other.

    Examples are numbered prompt length by prompt length, as their continuations are.
    """
    groups = np.tile(subject.examples.recordings, prompts)
    half = calibration.halves(groups)
    once = np.tile(subject.examples.copies == 1, prompts)  # what has copies elsewhere is related to them
    pairs = []
    for side in (0, 1):
        own = np.flatnonzero((half == side) & once)
        pairs.append(own[calibration.negative_pairs(groups[own], count=count, seed=seed + side)])
    return pairs


def _negative_costs(
    greedy: Sequence[Continued], pairs: Sequence[np.ndarray], metric: Metric
) -> list[np.ndarray]:
    """Costs of pairs of a continuation and another example's target, [count] for each half."""
    generated = torch.cat([each.generated for each in greedy])
    targets = torch.cat([each.target for each in greedy])
    costs = []
    with Progress("calibrate", sum(map(len, pairs)), unit="pair") as counter:
        for half in pairs:
            parts = []
            for part in np.array_split(half, max(len(half) // PAIRS_AT_ONCE, 1)):
                parts.append(metric.costs(generated[part[:, 0]], targets[part[:, 1]]))
                counter.advance(len(part))
            costs.append(np.concatenate(parts))
    return costs


def _calibrate(negative: Sequence[np.ndarray], metric: Metric, request: Request) -> Calibration:
    """The threshold, fitted on the negative costs of one half and verified on those of the other."""
    fitted, verified = negative
    target = request.false_positive_rate
    tau = calibration.fit_tau(fitted, target)
    verification = calibration.verify(verified, tau)
    return Calibration(
        regularization=metric.regularization,
        tau=tau,
        paper_tau=calibration.PAPER_TAU,
        target=target,
        fitted=Fit(len(fitted), int((fitted < tau).sum())),
        verified=verification,
        holds=verification.upper < target,
    )


def _whole_model(
    model: Bundle, name: str, store: TokenStore, device: Device
) -> tuple[MusicLM, AcousticTokenizer] | None:
    """The model and its codec; None where the bundle is no whole model, or has not the store's codec."""
    made_by = store.description.fingerprints.get("codec", "")
    if not acoustic.is_audible(model.components) or not model.component("codec").is_known_as(made_by):
        return None
    codec: AcousticTokenizer = model.load("codec").to(choose_device(device))
    return MusicLM.from_pretrained(name, device=device), codec


def _describe_pairs(
    nearest: Sequence[tuple[Continued, int]], heard: Heard | None, store: TokenStore
) -> list[Pair]:
    rate = store.description["semantic"].rate
    pairs = [findings.describe_pair(each, index, rate) for each, index in nearest]
    if heard is None:
        return pairs
    figures = zip(heard.mulan_cosine.tolist(), heard.mel_distance.tolist(), strict=True)
    return [
        replace(pair, mulan_cosine=cosine, mel_distance=distance)
        for pair, (cosine, distance) in zip(pairs, figures, strict=True)
    ]


def _made(seconds: float, place: torch.device) -> Made:
    return Made(
        date=date.today().isoformat(),
        seconds=round(seconds, 1),
        machine=f"{torch.get_num_threads()} threads, {platform.machine()}, {_gpu(place)}",
        musiclm=version("musiclm"),
    )


def _describe_store(path: Path, material: Material) -> AuditedStore:
    rows = (*material.training, *material.held_out)
    hours = sum(row.seconds for row in rows) / 3600
    return AuditedStore(str(path), recordings=len(rows), held_out=len(material.held_out), hours=hours)


def _describe_protocol(request: Request, material: Material, store: TokenStore) -> Protocol:
    return Protocol(
        examples=request.examples,
        control_examples=material.count("held-out"),
        prompt_tokens=list(request.prompt_tokens),
        continuation_tokens=CONTINUATION,
        frame_rate=store.description["semantic"].rate,
        seed=request.seed,
        precision=request.precision,
        temperature=request.temperature,
        low_entropy_bits=findings.LOW_ENTROPY,
    )


def _gpu(place: torch.device) -> str:
    """As report.json names it."""
    if place.type == "cuda":
        return torch.cuda.get_device_name(place)
    return "no GPU used" if place.type == "cpu" else place.type


def _work_folder(folder: Path, key: str) -> Path:
    """Where batches are kept; those of an audit with other settings are removed."""
    for other in folder.glob("*") if folder.is_dir() else ():
        if other.name != key:
            shutil.rmtree(other)
    (folder / key).mkdir(parents=True, exist_ok=True)
    return folder / key
