"""Does the model understand "no", "not" and "without"? `musiclm evaluate negation`.

Each of a few prompts is made as it is, with an instrument, and in several ways without it, all from the same
seeds. Drums are measured by their onsets (`metrics/rhythm.py`), other instruments by how much nearer
the clip's MuLan embedding lies to their name than to those of others; that tells leads of held-out pieces
well (docs/default-model.md). A model that understands the exclusion plays less of the instrument than when
nothing is said of it; one that only hears the name plays more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import yaml

from musiclm.audio import Audio
from musiclm.evaluate.adherence import PROMPTS
from musiclm.generation.pipeline import MusicLM
from musiclm.machine.device import Device
from musiclm.metrics.rhythm import onset_strength
from musiclm.metrics.statistics import wilson
from musiclm.progress import progress

PLAIN, WITH = "{base}", "{base} with {thing}"
Takes = Mapping[str, Sequence[Audio]]  # of each prompt


@dataclass(frozen=True)
class Exclusions:
    """The prompts, as `prompts.yaml` has them.

    Args:
        bases: descriptions that name none of the things.
        forms: how a thing is excluded, with {base}, {thing} and {one}.
        things: instruments, each with its article.
        references: other instruments.
    """

    bases: list[str]
    forms: list[str]
    things: dict[str, str]
    references: list[str]

    def texts(self, thing: str, form: str) -> list[str]:
        """The bases in a form."""
        return [form.format(base=base, thing=thing, one=self.things[thing]) for base in self.bases]

    def all_texts(self) -> list[str]:
        """Every prompt once."""
        forms = (PLAIN, WITH, *self.forms)
        return list(
            dict.fromkeys(t for thing in self.things for form in forms for t in self.texts(thing, form))
        )


def negation(
    bundle: str = "default", seconds: float = 5.0, num: int = 2, seed: int = 0, device: Device = "auto"
) -> None:
    """Print how often there is less of an instrument where the prompt excludes it (95 % intervals).

    Args:
        bundle: the model to judge.
        seconds: length of each clip.
        num: takes of each prompt.
        seed: of the first take of every prompt: what differs is the prompt alone.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.
    """
    prompts = read_exclusions()
    model = MusicLM.from_pretrained(bundle, device=device)
    texts = prompts.all_texts()
    clips = {
        text: model.variations(text, num=num, seconds=seconds, seed=seed)
        for text in progress(texts, total=len(texts), description="generate")
    }
    print(f"{'':<24}{'less than with it':>20}{'less than unmentioned':>24}")
    for thing in prompts.things:
        amounts = {
            form: amounts_of(model, prompts, thing, form, clips) for form in (PLAIN, WITH, *prompts.forms)
        }
        for form in prompts.forms:
            name = prompts.texts(thing, form)[0].removeprefix(prompts.bases[0]).strip(" ,")
            shares = [share(less(amounts[form], amounts[other])) for other in (WITH, PLAIN)]
            print(f"{name:<24}{shares[0]:>20}{shares[1]:>24}")
        print(f"{f'({thing} unmentioned)':<24}{share(less(amounts[PLAIN], amounts[WITH])):>20}")


def read_exclusions() -> Exclusions:
    """The prompts that ship."""
    words: dict[str, Any] = yaml.safe_load(PROMPTS.read_text(encoding="utf-8"))
    return Exclusions(**words["negation"])


@torch.inference_mode()
def amounts_of(model: MusicLM, prompts: Exclusions, thing: str, form: str, clips: Takes) -> list[float]:
    """How much of a thing there is in every take of every base in a form."""
    takes = [take for text in prompts.texts(thing, form) for take in clips[text]]
    if thing == "drums":
        return [onset_strength(take.waveform[0], take.sample_rate) for take in takes]
    others = [other for other in (*prompts.things, *prompts.references) if other not in (thing, "drums")]
    names = model.joint_embedding.embed_text([thing, *others])  # [things, D]
    waveforms = [take.resample(model.joint_embedding.sample_rate).waveform[None] for take in takes]
    heard = torch.cat(
        [model.joint_embedding.embed_audio(waveform.to(model.device)) for waveform in waveforms]
    )  # [takes, D]
    amounts: list[float] = (heard @ (names[0] - names[1:].mean(dim=0))).tolist()
    return amounts


def less(these: Sequence[float], those: Sequence[float]) -> list[bool]:
    """Of each pair, whether the first is less."""
    return [one < other for one, other in zip(these, those, strict=True)]


def share(true: Sequence[bool]) -> str:
    """The share that is true, with Wilson's interval."""
    rate = sum(true) / len(true)
    low, high = wilson(rate, len(true))
    return f"{rate:.2f} ({low:.2f}-{high:.2f})"
