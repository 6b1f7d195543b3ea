"""A guard at generation: music that is nearer to a training recording than unrelated music is does not pass.

`musiclm generate --guard tokens/` looks for every five seconds of the new semantic tokens in the whole
training store, window by window as they are drawn, before they are made audible. What is near is read off the
store itself: nearer than all but one in a thousand windows of unrelated music (`nearness.null_costs`).
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from musiclm.audio import Audio
from musiclm.audit.nearness import null_costs
from musiclm.audit.search import WINDOW, WindowSearch
from musiclm.data.store import TokenStore
from musiclm.files import write_whole
from musiclm.pipeline import MusicLM
from musiclm.request import GuardAction
from musiclm.windows import OnProgress

QUANTILE = 0.001  # of unrelated windows: how many a guard may take for copies
NULL_WINDOWS = 5_000  # at most; of fewer than a thousand, none is nearer than the threshold
THRESHOLD = "threshold.json"  # beside the index of the store
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

    def __str__(self) -> str:
        """As a label, and in messages."""
        relation = "no nearer than unrelated music" if self.passes else "as near as a copy"
        return (
            f"{relation} to {self.recording} from {self.start:.0f} s on "
            f"(transport cost {self.cost:.2f}, threshold {self.threshold:.2f})"
        )


class TooNear(Exception):
    """The music is too near to a training recording; `verdict` says to which."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(str(verdict))
        self.verdict = verdict


class Guard:
    """Compares semantic tokens with a training store.

    Args:
        search: over the store.
        threshold: the transport cost below which a window counts as copied.
    """

    def __init__(self, search: WindowSearch, threshold: float) -> None:
        self.search = search
        self.threshold = threshold

    @classmethod
    def of(cls, tokens: Path, model: MusicLM) -> "Guard":
        """The guard of a token store; what it needs is made once and kept in the store's folder.

        Raises:
            FileNotFoundError, ValueError: there is no store, or the model has learned other tokens.
        """
        store = TokenStore(tokens)
        store.check_learned_by(model.trained_on)
        search = WindowSearch.open(store)
        file = search.folder / THRESHOLD
        if not file.is_file():
            null = null_costs(search, windows=NULL_WINDOWS)
            threshold = float(np.quantile(null.costs, QUANTILE, method="lower"))
            kept = {"threshold": threshold, "windows": len(null.costs), "from": null.source}
            write_whole(file, json.dumps(kept).encode())
        return cls(search, json.loads(file.read_text(encoding="utf-8"))["threshold"])

    def judge(self, semantic: Tensor) -> Verdict:
        """What is nearest to semantic tokens [1, 1, T] in the store.

        Raises:
            ValueError: they are fewer than a window has, and cannot be compared with one.
        """
        tokens = semantic[0, 0]
        self._check_length(len(tokens))
        starts = [*range(0, len(tokens) - WINDOW, BETWEEN), len(tokens) - WINDOW]
        found = self.search.nearest(torch.stack([tokens[start : start + WINDOW] for start in starts]))
        best = int(found.costs.argmin())
        recording, start = self.search.place(int(found.windows[best]))
        return Verdict(recording, start, float(found.costs[best]), self.threshold)

    def _check_length(self, tokens: int) -> None:
        if tokens < WINDOW:
            seconds = WINDOW / self.search.store.description.semantic_frame_rate
            raise ValueError(f"expected at least {seconds:g} s of music to guard: ask for more --seconds")

    def generate(
        self,
        model: MusicLM,
        prompt: str,
        *,
        seconds: float,
        seed: int,
        action: GuardAction = "refuse",
        tries: int = 3,
        on_progress: OnProgress | None = None,
    ) -> tuple[Audio, int, Verdict]:
        """Music that passes, the seed that made it, and what is nearest to it.

        Args:
            model: the model.
            prompt, seconds, seed, on_progress: as in `MusicLM.generate`.
            action: with what does not pass: `refuse` it, `regenerate` with the next seeds, or `label` it.
            tries: seeds in all, for `regenerate`.

        Raises:
            ValueError: nothing passed.
        """
        self._check_length(round(seconds * self.search.store.description.semantic_frame_rate))
        heard: Tensor
        verdict: Verdict | None

        def check(semantic: Tensor) -> None:
            nonlocal heard, verdict
            heard = torch.cat([heard, semantic], dim=2)
            if heard.shape[2] < WINDOW:
                return
            found = self.judge(heard)
            heard = heard[:, :, 1 - WINDOW :]  # windows across the border are looked at as well
            verdict = found if verdict is None or found.cost < verdict.cost else verdict
            if action != "label" and not verdict.passes:
                raise TooNear(verdict)

        for take in range(tries if action == "regenerate" else 1):
            heard, verdict = torch.empty(1, 1, 0, dtype=torch.int64), None
            try:
                audio = model.generate(
                    prompt, seconds=seconds, seed=seed + take, on_progress=on_progress, on_semantic=check
                )
            except TooNear:
                continue
            assert verdict is not None
            return audio, seed + take, verdict
        advice = "ask for more --guard_tries" if action == "regenerate" else "take another --seed"
        raise ValueError(f"expected music of its own, got some {verdict}: {advice}, or another prompt")
