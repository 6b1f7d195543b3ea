"""A guard at generation: music that is nearer to a training recording than unrelated music is does not pass.

`musiclm generate --guard tokens/` looks for every five seconds of the new semantic tokens in the whole
training store, window by window as they are drawn, before they are made audible. What is near is read off the
store itself: nearer than all but one in a thousand windows of unrelated music (`nearness.null_costs`).

Music is given out whole, when all of it has passed: also to a pipe, where it would be heard before its end is
known. In Python, `Watch` looks at a stream, and stops it before sound is made of what is too near.
"""

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from musiclm.audio import Audio
from musiclm.audit.nearness import null_costs
from musiclm.audit.search import WINDOW, WindowSearch
from musiclm.data.store import TokenStore
from musiclm.files import write_whole
from musiclm.generation.pipeline import MusicLM
from musiclm.generation.request import GuardAction, Request
from musiclm.generation.windows import OnProgress

QUANTILE = 0.001  # of unrelated windows: how many a guard may take for copies
Z = -3.0902  # deviations from the mean of a normal distribution, at which this quantile lies
TINY = 1e-6  # a cost has a logarithm
NULL_WINDOWS = 5_000  # at most
ENOUGH = 1_000  # of which one in a thousand can be read off
THRESHOLD = "threshold.json"  # beside the index of the store
ASK_FOR_MORE = "ask for more --seconds, or for no guard"
BETWEEN = 62  # tokens from one checked window to the next, 2.5 s


@dataclass(frozen=True)
class Verdict:
    """The nearest stretch of the training recordings, and whether it is too near."""

    recording: str
    start: float  # seconds into the recording
    cost: float
    threshold: float

    @property
    def passes(self) -> bool:
        return self.cost >= self.threshold

    @property
    def margin(self) -> float:
        """How far from a copy: below 0 it does not pass."""
        return self.cost - self.threshold

    def __str__(self) -> str:
        """As a label, and in messages."""
        relation = "no nearer than unrelated music" if self.passes else "as near as a copy"
        return (
            f"{relation} to {self.recording} from {self.start:.0f} s on "
            f"(transport cost {self.cost:.2f}, threshold {self.threshold:.2f})"
        )


@dataclass(frozen=True)
class Sample:
    """Music that a guard has looked at, the seed that made it, and what is nearest to it."""

    audio: Audio
    seed: int
    verdict: Verdict


class TooNear(Exception):
    """A sample, the one of `row`, is too near to a training recording; `verdict` says to which."""

    def __init__(self, verdict: Verdict, row: int) -> None:
        super().__init__(str(verdict))
        self.verdict = verdict
        self.row = row


class Guard:
    """Compares semantic tokens with a training store.

    Args:
        search: over the store.
        threshold: the transport cost below which a window counts as copied.
        others: guards of other stores, which are asked as well.
    """

    def __init__(self, search: WindowSearch, threshold: float, others: Sequence["Guard"] = ()) -> None:
        self.search = search
        self.threshold = threshold
        self.others = others

    @classmethod
    def of(cls, tokens: Path | Sequence[Path], model: MusicLM) -> "Guard":
        """The guard of a token store, or of several; what it needs is made once and, if that can be, kept
        in the store's folder.

        Raises:
            FileNotFoundError, ValueError: there is no store, or the model has learned other tokens.
        """
        if not isinstance(tokens, Path):
            first, *others = tokens
            own = cls.of(first, model)
            return cls(own.search, own.threshold, [cls.of(other, model) for other in others])
        store = TokenStore(tokens)
        if model.bundle is not None:
            store.check_learned_by(model.bundle)
        search = WindowSearch.open(store)
        threshold = _kept_threshold(search.folder)
        if threshold is None:
            null = null_costs(search, windows=NULL_WINDOWS, enough=ENOUGH)
            threshold = threshold_of(null.costs)
            if search.folder is not None:
                kept = {"threshold": threshold, "windows": len(null.costs), "from": null.source}
                with suppress(OSError):  # the store may be on a read-only disk
                    write_whole(search.folder / THRESHOLD, json.dumps(kept).encode())
        return cls(search, threshold)

    def judge(self, semantic: Tensor) -> Verdict:
        """What is nearest to semantic tokens [1, 1, T] in the store; of several stores, nearest to a copy.

        Raises:
            ValueError: they are fewer than a window has, and cannot be compared with one.
        """
        tokens = semantic[0, 0].cpu()  # where the store is
        self._check_length(len(tokens))
        starts = [*range(0, len(tokens) - WINDOW, BETWEEN), len(tokens) - WINDOW]
        found = self.search.nearest(torch.stack([tokens[start : start + WINDOW] for start in starts]))
        best = int(found.costs.argmin())
        recording, start = self.search.place(int(found.windows[best]))
        own = Verdict(recording, start, float(found.costs[best]), self.threshold)
        verdicts = [own, *(other.judge(semantic) for other in self.others)]
        return min(verdicts, key=lambda verdict: verdict.margin)

    def _check_length(self, tokens: int, advice: str = ASK_FOR_MORE) -> None:
        if tokens < WINDOW:
            seconds = WINDOW / self.search.store.description["semantic"].rate
            raise ValueError(f"expected at least {seconds:g} s of music to guard: {advice}")

    def generate(
        self,
        model: MusicLM,
        request: Request,
        *,
        action: GuardAction = "refuse",
        tries: int = 3,
        on_progress: OnProgress | None = None,
    ) -> list[Sample]:
        """Every sample of a request, whole, and found to pass; of a continuation, what is new is looked at.

        Args:
            model: the model.
            request: what is asked for, in any form.
            action: with what does not pass: `refuse` the whole request, `regenerate` the samples that are too
                near with the next seeds that none of them has had, or `label` it.
            tries: seeds in all for each sample, for `regenerate`; 1 or more.
            on_progress: called as the stages advance.

        Raises:
            ValueError: there is not enough music to look at, or a sample does not pass.
        """
        tokens = round(request.new_seconds * self.search.store.description["semantic"].rate)
        advice = ASK_FOR_MORE if request.inpaint is None else "make longer parts anew, or ask for no guard"
        self._check_length(tokens, advice)
        assert tries >= 1
        made: dict[int, Sample] = {}
        missing = list(range(request.num))
        seed, nearest = request.seed, ""
        for _ in range(tries if action == "regenerate" else 1):
            watch = Watch(self, action)
            asked = replace(request, seed=seed, num=len(missing))
            try:
                samples = model.perform(asked, on_progress, watch).listen()
            except TooNear as error:
                nearest = _said(error.verdict, missing[error.row], request.num)
            else:
                for row, (place, audio) in enumerate(zip(missing, samples, strict=True)):
                    verdict = watch.verdict(row)
                    if verdict.passes or action == "label":
                        made[place] = Sample(audio, seed + row, verdict)
                    else:
                        nearest = _said(verdict, place, request.num)
            seed += len(missing)
            missing = [place for place in missing if place not in made]
            if not missing:
                return [made[place] for place in range(request.num)]
        advice = "ask for more --guard_tries" if action == "regenerate" else "take another --seed"
        raise ValueError(f"expected music of its own, got {nearest}: {advice}, or another prompt")


class Watch:
    """Judges semantic tokens as they are drawn: `on_semantic` of `MusicLM.generate`, `stream` and `perform`.

    Args:
        guard: what judges.
        action: `refuse` stops at the first sample that is too near, `regenerate` where all of them are.
    """

    def __init__(self, guard: Guard, action: GuardAction = "refuse") -> None:
        self.guard = guard
        self.action = action
        self.heard: Tensor | None = None  # [N or 1, 1, t], the last of what was drawn
        self.verdicts: list[Verdict] = []  # the nearest so far, of each row

    def verdict(self, row: int) -> Verdict:
        """What is nearest to a sample; those that share their semantic tokens share it."""
        return self.verdicts[min(row, len(self.verdicts) - 1)]

    def __call__(self, semantic: Tensor) -> None:
        """Take the next tokens [N or 1, 1, t].

        Raises:
            TooNear: the music is not to be made audible.
        """
        self.heard = semantic if self.heard is None else torch.cat([self.heard, semantic], dim=2)
        if self.heard.shape[2] < WINDOW:
            return
        found = [self.guard.judge(row) for row in self.heard.split(1)]
        self.heard = self.heard[:, :, 1 - WINDOW :]  # windows across the border are looked at as well
        pairs = zip(self.verdicts or found, found, strict=True)
        self.verdicts = [min(pair, key=lambda verdict: verdict.margin) for pair in pairs]
        near = [row for row, verdict in enumerate(self.verdicts) if not verdict.passes]
        enough = {"refuse": 1, "regenerate": len(found), "label": math.inf}[self.action]
        if len(near) >= enough:
            raise TooNear(self.verdicts[near[0]], near[0])


def threshold_of(costs: np.ndarray) -> float:
    """The cost that one in a thousand unrelated windows lies below.

    Of fewer than a thousand, the lowest would be taken for copies far more often than that: of ten windows,
    by one in eleven others. So it is that of a log-normal distribution of their mean and deviation, if that
    is lower.

    Args:
        costs: of unrelated windows [N].
    """
    lowest = float(np.quantile(costs, QUANTILE, method="lower"))
    if not 1 < len(costs) < ENOUGH:
        return lowest
    logs = np.log(np.maximum(costs, TINY))
    return min(lowest, float(np.exp(logs.mean() + Z * logs.std(ddof=1))))


def _said(verdict: Verdict, place: int, num: int) -> str:
    return f"some {verdict}" if num == 1 else f"sample {place + 1} of {num} {verdict}"


def _kept_threshold(folder: Path | None) -> float | None:
    """The threshold beside a kept index, if there is one."""
    if folder is None:
        return None
    try:
        return float(json.loads((folder / THRESHOLD).read_text(encoding="utf-8"))["threshold"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
