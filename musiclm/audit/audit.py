"""`musiclm audit`: does the semantic stage repeat what it was trained on? (MusicLM, sec. 5.3)

Training examples and, as the control, held-out ones are prompted with their own MuLan tokens and their first
T semantic tokens; what the stage goes on with is compared with what really follows: token by token, and by
the cost of moving one histogram onto the other, under a threshold calibrated on unrelated pairs. The control
says what like music would have given anyway: the difference is the finding.
"""

import hashlib
import math
import platform
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from musiclm.audit import acoustic, calibration, findings
from musiclm.audit.canaries import canary_of, canary_rows, read_canaries
from musiclm.audit.continuation import CONTINUATION, Subject, continuations
from musiclm.audit.examples import draw, identical_recordings, never_heard, stretches
from musiclm.audit.findings import Continued, Metric
from musiclm.audit.nearness import nearness, null_costs
from musiclm.audit.report import SCHEMA_VERSION, write_report
from musiclm.audit.search import WindowSearch
from musiclm.audit.sinkhorn import centroid_distances, default_regularization
from musiclm.bundle import Bundle, load_component
from musiclm.data.store import QUANTIZER, TokenStore, quantizer_of, read_codebooks
from musiclm.device import Device, choose_device
from musiclm.files import only_writer_to
from musiclm.generation.pipeline import MusicLM
from musiclm.generation.request import check_seed
from musiclm.progress import Progress
from musiclm.stages.precision import Precision, prepare_to_decode
from musiclm.stages.stage import Stage

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
    seed: int = 0,
    device: Device = "auto",
) -> None:
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
        seed: of every draw.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.
    """
    started = time.monotonic()
    _check_request(examples, prompt_tokens, negatives, temperature)
    check_seed(seed)
    if not 0 <= clear_of_end < float("inf"):
        raise ValueError(f"expected clear_of_end of 0 s or more, got {clear_of_end:g}")
    calibration.check_enough(negatives, false_positive_rate)
    place = choose_device(device)
    model, store = Bundle.find(bundle), TokenStore(tokens)
    store.check_learned_by(model)
    stage = prepare_to_decode(model.load("semantic_stage").to(place), precision)
    distances = centroid_distances(read_codebooks(store.folder)["semantic"][0])
    metric = Metric(distances, default_regularization(distances))

    training = [row for row in store if row.split == "train"]
    held_out = [row for row in store if row.split != "train"]
    rate = store.description.semantic_frame_rate
    length = max(prompt_tokens) + CONTINUATION
    cut = partial(
        stretches,
        training=training,
        length=length,
        apart=CONTINUATION,
        clear_of_end=math.ceil(clear_of_end * rate),
    )
    canaries = read_canaries(store.folder)
    planted, times = canary_rows(training, canaries)
    # What was repeated on purpose says nothing of the rest, and is asked for by itself.
    ordinary = [row for row in training if canary_of(row.id) not in canaries]
    population = cut(ordinary)
    if len(population) < examples:
        raise ValueError(
            f"expected {examples} stretches of {length / rate:g} s in the training recordings of {tokens}, "
            f"they have {len(population)}: ask for fewer --examples, or tokenize more music"
        )
    of_canaries = cut(planted)
    control = never_heard(cut(held_out), held_out, training, offsets=prompt_tokens, length=CONTINUATION)
    subjects = [
        Subject.of(
            name,
            rows,
            chosen,
            length=length,
            quantizer=load_component(quantizer_of(store.folder, QUANTIZER)),
            description=store.description,
        )
        for name, rows, chosen in (
            ("training", ordinary, draw(population, count=examples, seed=seed)),
            ("held-out", held_out, draw(control, count=examples, seed=seed)),
            ("canaries", planted, draw(of_canaries, count=len(of_canaries), seed=seed)),
        )
        if len(chosen)
    ]
    pairs = _negative_pairs(subjects[0], len(prompt_tokens), count=negatives, seed=seed)

    searched = WindowSearch.build(store) if search else None
    null = null_costs(searched, least_entropy=findings.LOW_ENTROPY) if searched else None

    arithmetic = f"{precision} {place.type}"
    key = _digest(model.fingerprint("semantic_stage"), arithmetic, seed, subjects)
    work = _work_folder(out / ".work", key)
    made = _continue(
        stage, subjects, prompt_tokens, metric=metric, temperature=temperature, seed=seed, work=work
    )
    planted_again = [each for each in made if each.subject.name == "canaries"]
    made = [each for each in made if each.subject.name != "canaries"]
    greedy = [each for each in made if each.subject.name == "training" and each.decoding == "greedy"]
    unheard = [each for each in made if each.subject.name == "held-out" and each.decoding == "greedy"]

    fitted, verified = _negative_costs(greedy, pairs, metric)
    tau = calibration.fit_tau(fitted, false_positive_rate)
    verification = calibration.verify(verified, tau)
    nearest = findings.closest(made)
    closest = [findings.describe_pair(each, index, rate) for each, index in nearest]
    heard = None
    codec = store.description.fingerprints.get("codec")
    if audio and set(acoustic.ROLES) <= set(model.components) and model.fingerprint("codec") == codec:
        heard = acoustic.listen(
            MusicLM.from_pretrained(bundle, device=device),
            model.load("codec").to(place),
            nearest,
            frame_rate=rate,
            seed=seed,
        )
        figures = zip(heard.mulan_cosine.tolist(), heard.mel_distance.tolist(), strict=True)
        for pair, (cosine, distance) in zip(closest, figures, strict=True):
            pair.update(mulan_cosine=cosine, mel_distance=distance)

    report: dict[str, Any] = {
        "version": SCHEMA_VERSION,
        "made": {
            "date": date.today().isoformat(),
            "seconds": 0.0,  # until everything is measured
            "machine": f"{torch.get_num_threads()} threads, {platform.machine()}, {_gpu(place)}",
            "musiclm": version("musiclm"),
        },
        "bundle": {
            "path": bundle,
            "fingerprint": model.fingerprint(),
            "semantic": model.fingerprint("semantic_stage"),
        },
        "store": {
            "path": str(tokens),
            "recordings": len(store),
            "held_out": len(held_out),
            "hours": sum(row.seconds for row in (*training, *held_out)) / 3600,
        },
        "protocol": {
            "examples": examples,
            "control_examples": next((len(s) for s in subjects if s.name == "held-out"), 0),
            "prompt_tokens": list(prompt_tokens),
            "continuation_tokens": CONTINUATION,
            "frame_rate": rate,
            "seed": seed,
            "precision": precision,
            "temperature": temperature,
            "low_entropy_bits": findings.LOW_ENTROPY,
        },
        "duplicates": findings.duplicates(subjects[0], population, identical_recordings(ordinary)),
        "calibration": {
            "regularization": metric.regularization,
            "tau": tau,
            "paper_tau": calibration.PAPER_TAU,
            "target": false_positive_rate,
            "fitted": {"pairs": len(fitted), "false_positives": int((fitted < tau).sum())},
            "verified": asdict(verification),
            "holds": verification.upper < false_positive_rate,
        },
        "rates": findings.rates(made, tau),
        "by_duplicates": findings.by_duplicates(greedy, tau),
        "costs": findings.cost_counts(np.concatenate([fitted, verified]), greedy, unheard),
        "entropy": findings.entropy_points(greedy, tau, seed=seed),
        "power": findings.power(subjects[0].target(0), metric, tau, seed=seed),
        "search": nearness(searched, null, made) if searched and null else None,
        "audio": heard.means() if heard else None,
        "closest": closest,
        "canaries": findings.canaries(planted_again, times, tau),
    }
    report["made"]["seconds"] = round(time.monotonic() - started, 1)
    write_report(out, report, heard.clips if heard else ())
    shutil.rmtree(work.parent)
    print(out / "report.html")


def _continue(
    stage: Stage,
    subjects: Sequence[Subject],
    prompt_tokens: Sequence[int],
    *,
    metric: Metric,
    temperature: float,
    seed: int,
    work: Path,
) -> list[Continued]:
    """Every subject continued at every prompt length; canaries only greedily and from the longest prompt."""
    wanted = [
        (subject, decoding, shown)
        for subject in subjects
        for decoding in ("greedy", "sampled")
        for shown in prompt_tokens
        if subject.name != "canaries" or (decoding == "greedy" and shown == max(prompt_tokens))
    ]
    made = []
    with Progress("continue", sum(len(subject) for subject, _, _ in wanted), unit="example") as counter:
        for subject, decoding, shown in wanted:
            generated = continuations(
                stage,
                subject,
                prompt_tokens=shown,
                temperature=0.0 if decoding == "greedy" else temperature,
                seed=seed,
                folder=work,
                on_rows=counter.advance,
            )
            costs = metric.costs(generated, subject.target(shown))
            made.append(Continued(subject, decoding, shown, generated, costs))
    return made


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


def _digest(fingerprint: str, arithmetic: str, seed: int, subjects: Sequence[Subject]) -> str:
    """Names the batches that may be used again: those of the same model and the same stretches."""
    digest = hashlib.sha256(f"{fingerprint} {arithmetic} {seed}".encode())
    for subject in subjects:
        digest.update(subject.name.encode())
        digest.update(subject.semantic.numpy().tobytes())
        digest.update(subject.mulan.numpy().tobytes())
    return digest.hexdigest()[:16]


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


def _check_request(examples: int, prompt_tokens: Sequence[int], negatives: int, temperature: float) -> None:
    if examples < 1 or negatives < 1:
        raise ValueError(f"expected examples and negatives of 1 or more, got {examples} and {negatives}")
    if not prompt_tokens or min(prompt_tokens) < 0 or len(set(prompt_tokens)) < len(prompt_tokens):
        raise ValueError(f"expected distinct prompt_tokens of 0 or more, got {list(prompt_tokens)}")
    if not 0 < temperature < float("inf"):
        raise ValueError(f"expected a temperature above 0 for the sampled half, got {temperature:g}")
