"""Writes what tests/golden/bundles/ has beside `format_1`, which version 0.1 wrote and which stays as it is.

    python -m tests.golden.make_bundles

- `format_2`: the same model in format 2. Later versions load both for ever: this script is run again only
  where a format 3 is added, and then leaves `format_2` as it is, too. Its weights are format 1's to the byte,
  and so are links to them.
- `golden.safetensors`: what the model says and plays. The file was first written by version 0.1's own code.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save_file
from torch import Tensor

from musiclm import MusicLM
from musiclm.bundle import Bundle, merge
from musiclm.stages.decoding import forced_logits
from tests.tiny_model import PROMPT

FOLDER = Path(__file__).parent / "bundles"
FILE = FOLDER / "golden.safetensors"


def golden(bundle: Path) -> dict[str, Tensor]:
    """Logits of the three stages for fixed codes, semantic tokens as they are drawn, and their sound."""
    source, drawn = Bundle(bundle), []
    codes = {
        "mulan": torch.tensor([[[1], [2]]]),
        "semantic": torch.arange(8)[None, None] * 3 % 8,  # [1, 1, 8]
        "coarse": torch.arange(32).view(1, 2, 16) * 5 % 8,
        "fine": torch.arange(16).view(1, 1, 16) * 7 % 8,
    }
    made = {}
    for name in ("semantic", "coarse", "fine"):
        stage = source.load(f"{name}_stage")
        wanted = [segment.name for segment in stage.layout.segments]
        made[f"logits of {name}"] = forced_logits(stage, {each: codes[each] for each in wanted})
    model = MusicLM.from_pretrained(bundle, device="cpu", precision="float32")
    audio = model.generate(PROMPT, seconds=0.5, seed=1, on_semantic=drawn.append)
    return {**made, "waveform": audio.waveform, "semantic tokens": torch.cat(drawn, dim=2)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        merge([Bundle(FOLDER / "format_1")], Path(folder) / "format_2")
        for file in (Path(folder) / "format_2").iterdir():
            (FOLDER / "format_2").mkdir(exist_ok=True)
            (FOLDER / "format_2" / file.name).write_bytes(file.read_bytes())
    save_file(golden(FOLDER / "format_1"), FILE)
    print(f"{FILE.stat().st_size / 1000:.0f} kB: {FILE}")
