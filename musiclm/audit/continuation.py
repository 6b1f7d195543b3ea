"""What the semantic stage makes of the beginning of a stretch (MusicLM, sec. 5.3).

The prompt is M_A, the MuLan tokens of the stretch, and its first T semantic tokens; the continuation is
compared with the tokens that follow. A stage that follows a score may be told the stretch's own as well, as
somebody would who copies the plan of a piece. Every batch is kept on disk as soon as it is made, so that an
audit that was killed goes on where it stopped.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from musiclm.audit.examples import Examples, tokens_at
from musiclm.data.cutting import crop_embedding, tokens_of
from musiclm.data.store import StoreDescription, TokenRow
from musiclm.files import replacing
from musiclm.machine.device import device_of
from musiclm.score.codes import STREAMS as SCORE_STREAMS
from musiclm.stages.decoding import sample_codes
from musiclm.stages.stage import Stage
from musiclm.tokenizers.rvq import ResidualQuantizer

CONTINUATION = 125  # tokens, 5 s (MusicLM, sec. 5.3)
ROWS_AT_ONCE = 128


@dataclass(frozen=True)
class Subject:
    """A set of stretches that the stage is asked for.

    Attributes:
        name: training, held-out or canaries.
        rows: the recordings they are of.
        examples: which stretches.
        mulan: their conditioning tokens [N, levels, 1].
        semantic: their tokens [N, S].
        score: codes [N, levels, S] of the streams of the score that their store has, by name.
    """

    name: str
    rows: Sequence[TokenRow]
    examples: Examples
    mulan: Tensor
    semantic: Tensor
    score: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        name: str,
        rows: Sequence[TokenRow],
        examples: Examples,
        *,
        length: int,
        quantizer: ResidualQuantizer,
        description: StoreDescription,
    ) -> "Subject":
        """Stretches of `length` tokens, conditioned as training crops are (without the noise)."""
        rate = description["semantic"].rate
        places = list(zip(examples.recordings, examples.starts, strict=True))
        stream = description["mulan"]
        embeddings = [
            crop_embedding(rows[r], stream, start=s / rate, seconds=length / rate) for r, s in places
        ]
        mulan = quantizer.encode(torch.from_numpy(np.stack(embeddings)).float())[..., None]
        semantic = tokens_at(rows, examples.recordings, examples.starts, length)
        score = {
            stream.name: torch.stack(
                [
                    torch.from_numpy(tokens_of(rows[r].streams[stream.name][:, s : s + length]))
                    for r, s in places
                ]
            )
            for stream in SCORE_STREAMS
            if stream in description.streams and stream.rate == rate
        }
        return cls(name, rows, examples, mulan, torch.from_numpy(semantic), score)

    def __len__(self) -> int:
        return len(self.examples)

    def target(self, prompt_tokens: int) -> Tensor:
        """What follows the first T tokens [N, 125]."""
        return self.semantic[:, prompt_tokens : prompt_tokens + CONTINUATION]

    def recording_ids(self) -> np.ndarray:
        """Of each example [N]."""
        return np.array([self.rows[recording].id for recording in self.examples.recordings])


def continuations(
    stage: Stage,
    subject: Subject,
    *,
    prompt_tokens: int,
    temperature: float,
    planned: bool = False,
    seed: int,
    folder: Path,
    on_rows: Callable[[int], None],
) -> Tensor:
    """What the stage goes on with after the first `prompt_tokens` of each stretch: [N, 125], on the CPU.

    Args:
        stage: the semantic stage, in eval mode, on any device.
        subject: the stretches.
        prompt_tokens: T.
        temperature: 0 for the most likely token at each step, as in the paper.
        planned: tell the stage what it follows of the stretches' own score.
        seed: of the draws; each batch has its own, so that a resumed audit draws what an unbroken one does.
        folder: where batches are kept; one whose file exists is not made again.
        on_rows: called with the number of stretches done.
    """
    made, device = [], device_of(stage)
    told = planned_streams(stage, subject) if planned else ()
    way = f"{temperature:g}-planned" if planned else f"{temperature:g}"
    for first in range(0, len(subject), ROWS_AT_ONCE):
        file = folder / f"{subject.name}-{prompt_tokens}-{way}-{first:06d}.npy"
        rows = slice(first, first + ROWS_AT_ONCE)
        if not file.is_file():
            tokens = sample_codes(
                stage,
                {
                    "mulan": subject.mulan[rows],
                    **{name: subject.score[name][rows, :, : prompt_tokens + CONTINUATION] for name in told},
                },
                frames=prompt_tokens + CONTINUATION,
                prompt=subject.semantic[rows, None, :prompt_tokens] if prompt_tokens else None,
                temperature=temperature,
                generator=torch.Generator(device=device).manual_seed(
                    ((seed * 1_000_003 + first) * 1_009 + prompt_tokens) % 2**63
                ),
            )  # [rows, 1, T + 125]
            with replacing(file) as temporary:
                np.save(temporary, tokens[:, 0, prompt_tokens:].cpu().numpy().astype(np.uint16))
        made.append(torch.from_numpy(np.load(file).astype(np.int64)))
        on_rows(len(made[-1]))
    return torch.cat(made)


def planned_streams(stage: Stage, subject: Subject) -> tuple[str, ...]:
    """The streams of the score that the stretches have and the stage follows."""
    return tuple(name for name in subject.score if stage.layout.has_condition(name))
