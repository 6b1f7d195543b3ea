"""Writes the golden files of this folder: what the tiny model of tests/tiny_model.py makes of every form.

    python -m tests.golden.make

Run it only where a change of what is heard is meant, and say so in the commit.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save_file
from torch import Tensor

from musiclm import Audio, MusicLM
from tests.tiny import melody
from tests.tiny_model import OTHER, PROMPT, make_bundle

FILE = Path(__file__).parent / "forms.safetensors"
SECONDS = 1.2  # more than a window of each stage


def forms(folder: Path) -> dict[str, Tensor]:
    """Waveforms [takes, L] and semantic tokens [T] of every form of generation, by name.

    Args:
        folder: where the tiny models may be written.
    """
    plain = MusicLM.from_pretrained(make_bundle(folder / "plain"), precision="float32")
    guided = MusicLM.from_pretrained(make_bundle(folder / "guided", melody=True), precision="float32")
    clip = plain.generate(OTHER, seconds=1.5, seed=7)
    drawn: list[Tensor] = []
    made = {
        "text": [plain.generate(PROMPT, seconds=SECONDS, seed=1, on_semantic=drawn.append)],
        "stream": [Audio(torch.cat(list(plain.stream(PROMPT, seconds=SECONDS, seed=2)), dim=1), 24_000)],
        "story": [plain.story([(0, PROMPT), (1.0, OTHER)], seconds=2.2, seed=3, blend=1.0)],
        "continuation": [new(plain.generate(PROMPT, seconds=SECONDS, seed=4, continue_=clip))],
        "variations": plain.variations(PROMPT, num=2, seconds=SECONDS, seed=5),
        "variations of sound": plain.variations(PROMPT, num=2, keep="semantic", seconds=SECONDS, seed=6)[1:],
        "melody": [guided.generate(PROMPT, seconds=SECONDS, seed=8, melody=melody(2.0, seed=0))],
        "rendered": [plain.render(torch.arange(25)[None, None] % 8, torch.zeros(1, 2, 1, dtype=torch.int64))],
    }
    waveforms = {name: torch.cat([audio.waveform for audio in takes]) for name, takes in made.items()}
    return {**waveforms, "semantic tokens of text": torch.cat(drawn, dim=2).flatten()}


def new(audio: Audio) -> Audio:
    """What came after the clip, and its last tenth of a second, which is cross-faded."""
    return Audio(audio.waveform[:, -round((SECONDS + 0.1) * audio.sample_rate) :], audio.sample_rate)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        tensors = forms(Path(folder))
    save_file(
        {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}, FILE
    )
    print(f"{len(tensors)} tensors, {FILE.stat().st_size / 1000:.0f} kB: {FILE}")
