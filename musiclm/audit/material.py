"""What an audit asks the stage for: stretches of training music, of held-out music, and of canaries."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from musiclm.audit import calibration
from musiclm.audit.canaries import canary_of, canary_rows, read_canaries
from musiclm.audit.continuation import CONTINUATION, Subject
from musiclm.audit.examples import Examples, draw, never_heard, stretches
from musiclm.bundle import load_component
from musiclm.data.store import TokenRow, TokenStore, quantizer_of
from musiclm.generation.request import check_seed
from musiclm.stages.precision import Precision


@dataclass(frozen=True)
class Request:
    """How an audit is to be made; `audit` in audit.py says what each value is."""

    examples: int
    prompt_tokens: tuple[int, ...]
    negatives: int
    false_positive_rate: float
    clear_of_end: float  # seconds
    temperature: float
    precision: Precision
    seed: int

    def check(self) -> None:
        """Raise ValueError where no audit can be made so."""
        examples, negatives, prompts = self.examples, self.negatives, self.prompt_tokens
        if examples < 1 or negatives < 1:
            raise ValueError(f"expected examples and negatives of 1 or more, got {examples} and {negatives}")
        if not prompts or min(prompts) < 0 or len(set(prompts)) < len(prompts):
            raise ValueError(f"expected distinct prompt_tokens of 0 or more, got {list(prompts)}")
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"expected a temperature above 0 for the sampled half, got {self.temperature:g}")
        check_seed(self.seed)
        if not 0 <= self.clear_of_end < float("inf"):
            raise ValueError(f"expected clear_of_end of 0 s or more, got {self.clear_of_end:g}")
        calibration.check_enough(negatives, self.false_positive_rate)


@dataclass(frozen=True)
class Material:
    """The recordings of a store, and the stretches of them that the stage is asked for.

    Attributes:
        training, held_out: recordings.
        ordinary: training recordings that are no canaries: what was repeated on purpose says nothing of the
            rest, and is asked for by itself.
        population: all stretches of ordinary recordings.
        subjects: the stretches that are asked for, training first; a set without any is absent.
        times: how often each canary was planted [C].
    """

    training: list[TokenRow]
    held_out: list[TokenRow]
    ordinary: list[TokenRow]
    population: Examples
    subjects: list[Subject]
    times: np.ndarray

    def count(self, name: str) -> int:
        """Stretches of a set that are asked for."""
        return next((len(subject) for subject in self.subjects if subject.name == name), 0)

    def digest(self, model: str, request: Request) -> str:
        """Names the batches that may be used again: those of the same model and the same stretches.

        Args:
            model: what tells it from others, and where it runs: other devices round otherwise.
            request: whose precision and seed count.
        """
        digest = hashlib.sha256(f"{model} {request.precision} {request.seed}".encode())
        for subject in self.subjects:
            digest.update(subject.name.encode())
            digest.update(subject.semantic.numpy().tobytes())
            digest.update(subject.mulan.numpy().tobytes())
            for name, codes in subject.score.items():
                digest.update(name.encode() + codes.numpy().tobytes())
        return digest.hexdigest()[:16]


def gather(store: TokenStore, request: Request) -> Material:
    """Draw the stretches that are asked for.

    Raises:
        ValueError: the training recordings have fewer than are asked for.
    """
    training = [row for row in store if row.split == "train"]
    held_out = [row for row in store if row.split != "train"]
    rate = store.description["semantic"].rate
    length = max(request.prompt_tokens) + CONTINUATION
    cut = partial(
        stretches,
        training=training,
        length=length,
        apart=CONTINUATION,
        clear_of_end=math.ceil(request.clear_of_end * rate),
    )
    canaries = read_canaries(store.folder)
    planted, times = canary_rows(training, canaries)
    ordinary = [row for row in training if canary_of(row.id) not in canaries]
    population = cut(ordinary)
    if len(population) < request.examples:
        raise ValueError(
            f"expected {request.examples} stretches of {length / rate:g} s in the training recordings of "
            f"{store.folder}, they have {len(population)}: ask for fewer --examples, or tokenize more music"
        )
    of_canaries = cut(planted)
    control = never_heard(
        cut(held_out), held_out, training, offsets=request.prompt_tokens, length=CONTINUATION
    )
    subject = partial(
        Subject.of,
        length=length,
        quantizer=load_component(quantizer_of(store.folder, store.description["mulan"].made_by[-1])),
        description=store.description,
    )
    drawn: Sequence[tuple[str, list[TokenRow], Examples]] = (
        ("training", ordinary, draw(population, count=request.examples, seed=request.seed)),
        ("held-out", held_out, draw(control, count=request.examples, seed=request.seed)),
        ("canaries", planted, draw(of_canaries, count=len(of_canaries), seed=request.seed)),
    )
    subjects = [subject(name, rows, chosen) for name, rows, chosen in drawn if len(chosen)]
    return Material(training, held_out, ordinary, population, subjects, times)
