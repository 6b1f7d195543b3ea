"""The configurations of `configs/paper/` and the code's constants have the papers' numbers.

Where a value differs on purpose, the table "Values that differ" of docs/paper.md has it, with both numbers
and the reason: this test reads that table, and fails for a difference that it does not name and for a name
that does not differ. Letters name the papers: L MuLan (2208.12415), M MusicLM (2301.11325), S SoundStream
(2107.03312), W w2v-BERT (2108.06209).
"""

import contextlib
import functools
import io
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from musiclm.audit import audit, calibration, continuation
from musiclm.generation.settings import GenerationSettings
from musiclm.stages.coarse import Coarse
from musiclm.stages.fine import Fine
from musiclm.stages.semantic import Semantic
from musiclm.stages.stage import Stage
from musiclm.stages.transformer import TransformerConfig
from musiclm.tokenizers import embedding_windows, melody, mulan_towers, residual_vq, seanet, w2v_bert
from musiclm.training import discriminators
from musiclm.training.cli import main

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "paper.md"

# A configuration and a value's place in it, as `musiclm fit --print_config` has it → the paper's, and where.
STAGE = {
    "model.part.pattern": ("flatten", "M 3.2: frame by frame, level by level"),
    "model.part.transformer.layers": (24, "M 4.1"),
    "model.part.transformer.heads": (16, "M 4.1"),
    "model.part.transformer.width": (1024, "M 4.1"),
    "model.part.transformer.feed_forward": (4096, "M 4.1"),
    "model.part.transformer.dropout": (0.1, "M 4.1"),
    "model.part.transformer.attention_dropout": (0.1, "M 4.1 says 0.1, and not where"),
    "model.part.transformer.embedding_width": (None, "M 4.1 names no narrower embeddings"),
}
PROMPTED = {
    **STAGE,
    "model.condition_dropout": (0.0, "M has no guidance"),
    "model.joint_dropout": (0.0, "M has no guidance"),
    "data.noise.mulan": (0.0, "M has none"),
    "data.noise.melody": (0.0, "M has none"),
    "data.clear_of_end": (0.0, "M has none"),
}
CONFIGS: dict[str, dict[str, tuple[Any, str]]] = {
    "soundstream": {
        "model.part.sample_rate": (24_000, "M 4.1"),
        "model.part.hop_length": (480, "M 4.1"),
        "model.part.num_quantizers": (12, "M 4.1"),
        "model.part.codebook_size": (1024, "M 4.1"),
        "model.part.encoder.width": (32, "S: C of the base"),
        "model.part.decoder.width": (32, "S: C of the base"),
        "model.part.encoder.ratios": ([8, 6, 5, 2], "M 4.1: 2·5·6·8, last one first"),
        "model.mel_windows": ([64, 128, 256, 512, 1024, 2048], "S: 2⁶ … 2¹¹"),
        "model.mel_bands": (64, "S"),
        "model.mel_weight": (1.0, "S: λ"),
        "model.adversarial_weight": (1.0, "S: λ"),
        "model.feature_weight": (100.0, "S: λ"),
        "model.waveform_weight": (0.0, "S has no loss of samples"),
        "model.dropout": (1.0, "S: levels of every example from U[1, N]"),
        "model.balance": (False, "S has no balancer"),
        "model.quantize_start": (0, "S quantizes from the first step"),
        "model.adversarial_start": (0, "S has its discriminators from the first step"),
    },
    "w2v_bert": {
        "model.part.num_layers": (24, "W: the 600M model"),
        "model.part.model_dim": (1024, "W"),
        "model.part.num_heads": (16, "W"),
        "model.part.ffn_dim": (4096, "W"),
        "model.part.num_codebook_entries": (1024, "W"),
        "model.diversity_weight": (0.1, "W 3.4"),
        "model.prediction_weight": (1.0, "W 3.4"),
    },
    "kmeans": {
        "model.part.num_centroids": (1024, "M 4.1"),
        "model.part.dimension": (1024, "W: the width of the features"),
    },
    "mulan": {
        "model.part.dimension": (128, "M 4.1"),
        "model.part.window_seconds": (10.0, "M 4.1"),
        "model.part.audio.num_mels": (64, "L 4.2"),
        "model.part.audio.blocks": ([3, 4, 6, 3], "L 3.1: ResNet-50"),
        "model.part.audio.channels": ([256, 512, 1024, 2048], "L 3.1: ResNet-50"),
        "model.part.audio.stem_channels": (64, "L 3.1: ResNet-50"),
        "model.part.audio.bottleneck": (True, "L 3.1: ResNet-50"),
        "model.part.text.num_layers": (12, "L 3.2: BERT-base"),
        "model.part.text.width": (768, "L 3.2: BERT-base"),
        "model.part.text.num_heads": (12, "L 3.2: BERT-base"),
        "model.part.text.vocabulary_size": (30_522, "L 3.2: BERT-base"),
        "model.part.text.max_pieces": (512, "L 3.2: BERT-base"),
    },
    "mulan_rvq": {
        "model.part.num_quantizers": (12, "M 3.1"),
        "model.part.codebook_size": (1024, "M 3.1"),
        "model.part.dimension": (128, "M 4.1"),
    },
    "melody": {
        "model.part.num_layers": (12, "M, appendix C"),
        "model.part.num_heads": (6, "M, appendix C"),
        "model.part.width": (512, "M, appendix C"),
        "model.part.feed_forward": (1024, "M, appendix C"),
        "model.part.head_size": (round(512 / 6, 1), "M, appendix C: width / heads"),
        "model.part.dimension": (192, "M, appendix C"),
        "model.reading_weight": (0.0, "M, appendix C has triplets alone"),
        "model.token_weight": (0.0, "M, appendix C has triplets alone"),
    },
    "melody_rvq": {
        "model.part.num_quantizers": (24, "M, appendix C"),
        "model.part.codebook_size": (512, "M, appendix C"),
        "model.part.dimension": (192, "M, appendix C"),
    },
    "semantic": {**PROMPTED, "data.seconds": (30.0, "M 4.1")},
    "coarse": {**PROMPTED, "model.part.num_coarse": (4, "M 3.2"), "data.seconds": (10.0, "M 4.1")},
    "fine": {**STAGE, "model.part.num_coarse": (4, "M 3.2"), "data.seconds": (3.0, "M 4.1")},
    "denoiser": {
        "model.part.process": ("angle", "D 3.3"),
        "model.part.width": (768, "D 4"),
        "model.part.blocks": (8, "D 4"),
        "model.part.segment": (64, "D 4"),
        "model.part.dimension": (16, "D 4: latents of the VAE"),
        "model.part.frame_rate": (250.0, "D 4: 24 kHz, hop 96"),
        "model.part.conditions": ([], "D 3.4: semantic tokens alone"),
        "model.times": ("uniform", "D 3.3"),
        "model.chunks": (4, "D 3.3"),
        "model.context": (0.0, "D has none but chunks of a small angle"),
        "model.joint_dropout": (0.1, "D 3.4: cross-attention becomes self-attention"),
        "data.seconds": (40.0, "D 3.3: four chunks of 10 s"),
    },
    "autoencoder": {
        "model.part.dimension": (16, "D 3.4"),
        "model.part.hop_length": (96, "D 3.4: 250 Hz"),
        "model.part.sample_rate": (24_000, "D 3.4"),
        "model.part.variational": (True, "D 3.4"),
        "model.part.decoder.width": (768, "D, appendix"),
        "model.masked": (0.0, "D has none"),
    },
}
# What the code has, the paper's value, and where.
SETTINGS = GenerationSettings()
SPECTRA = discriminators.SpectrumDiscriminator(width=1)
CONSTANTS = {
    "seconds of a semantic window": (SETTINGS.semantic.window, 30.0, "M 4.2"),
    "seconds it moves on by": (SETTINGS.semantic.stride, 15.0, "M 4.2"),
    "seconds of a coarse window": (SETTINGS.coarse.window, 10.0, "M 4.1: as the crops"),
    "seconds of a fine window": (SETTINGS.fine.window, 3.0, "M 4.1: as the crops"),
    "semantic temperature": (SETTINGS.semantic.temperature, 1.0, "M 4.2"),
    "coarse temperature": (SETTINGS.coarse.temperature, 0.95, "M 4.2"),
    "fine temperature": (SETTINGS.fine.temperature, 0.4, "M 4.2"),
    "semantic guidance, off": (SETTINGS.semantic.guidance, 1.0, "M has none"),
    "coarse guidance, off": (SETTINGS.coarse.guidance, 1.0, "M has none"),
    "samples of 40 ms": (w2v_bert.MEL_HOP * w2v_bert.STACK, 24_000 // 25, "M 4.1: 25 Hz"),
    "product of the codec's strides": (math.prod(seanet.RATIOS), 480, "M 4.1"),
    "decay of the codec's codebooks": (residual_vq.DECAY, 0.99, "S"),
    "count of a dead entry": (residual_vq.DEAD_BELOW, 2.0, "S"),
    "discriminators of waveforms": (discriminators.DOWNSAMPLING, (1, 2, 4), "S"),
    "window and hop of the one of spectra": ((SPECTRA.size, SPECTRA.hop), (1024, 256), "S"),
    "MuLan's window": (mulan_towers.WINDOW_SECONDS, 0.025, "L 4.2"),
    "MuLan's hop": (mulan_towers.HOP_SECONDS, 0.010, "L 4.2"),
    "seconds between MuLan's windows": (embedding_windows.STRIDE_SECONDS, 1.0, "M 4.1"),
    "seconds of a melody window": (melody.WINDOW_SECONDS, 4.0, "M, appendix C"),
    "seconds between melody windows": (melody.HOP_SECONDS, 3.0, "M, appendix C"),
    "tokens that the audit compares": (continuation.CONTINUATION, 125, "M 5.3"),
    "tokens that it shows": (max(audit.PROMPT_TOKENS), 250, "M 5.3"),
    "its false positives": (calibration.TARGET, 1e-4, "M 5.3"),
}
LINE = re.compile(r"\| `(\w+)`: `([\w.]+)` \| (.*?) \| `(.*?)` \| (.+?) \|")


@functools.cache
def configuration(part: str) -> dict[str, Any]:
    """What `musiclm fit` trains with when the paper's layer lies over the default's, defaults filled in."""
    files = [ROOT / "configs" / f"{part}.yaml", ROOT / "configs" / "paper" / f"{part}.yaml"]
    source = "audio"
    if part in ("semantic", "coarse", "fine", "denoiser"):
        source = "tokens"
    if part.startswith("melody"):
        source = "melodies"
    layers = [word for file in files for word in ("--config", str(file))]
    if part == "denoiser":
        layers += ["--model.init_args.autoencoder", "latents"]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
        main(["fit", *layers, f"--data.init_args.{source}", source, "--print_config"])
    return yaml.safe_load(printed.getvalue())


def value(part: str, place: str) -> Any:
    found = configuration(part)
    for word in place.split("."):
        found = found.get("init_args", found)[word]
    return found


def differing() -> dict[tuple[str, str], tuple[str, str]]:
    """The page's table of values that differ: configuration and place → the paper's value and ours."""
    section = PAGE.read_text(encoding="utf-8").split("## Values that differ", 1)[1].split("\n## ")[0]
    return {(row[1], row[2]): (row[3], row[4]) for row in LINE.finditer(section)}


@pytest.mark.parametrize("part", CONFIGS)
def test_a_configuration_has_the_paper_s_values_but_those_that_the_page_names(part: str) -> None:
    named = {place: values for (config, place), values in differing().items() if config == part}
    assert set(named) <= set(CONFIGS[part]), "the page names what no paper has a value for"
    for place, (expected, source) in CONFIGS[part].items():
        ours = value(part, place)
        if place in named:
            assert ours != expected, f"{part}: {place} is the paper's, {expected}: the page says it is not"
            assert named[place][1] == str(ours)
            assert named[place][0].split()[0] == str(expected)
        else:
            assert ours == expected, (
                f"{part}: {place} is {ours}, {source} has {expected}, docs/paper.md no line"
            )


def test_the_page_gives_every_reason() -> None:
    rows = PAGE.read_text(encoding="utf-8").split("## Values that differ", 1)[1].split("\n## ")[0]
    assert len(re.findall(r"^\| `", rows, flags=re.MULTILINE)) == len(differing())
    assert {config for config, _ in differing()} <= set(CONFIGS)


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_is_the_paper_s(name: str) -> None:
    ours, expected, source = CONSTANTS[name]
    assert ours == expected, source


def test_every_part_has_a_table() -> None:
    assert set(CONFIGS) == {file.stem for file in (ROOT / "configs" / "paper").glob("*.yaml")}


def test_the_semantic_tokens_are_of_the_seventh_layer_above_the_contrastive_ones() -> None:
    """MusicLM, sec. 4.1: the 7th layer of the masked-prediction module."""
    layers, above = (value("w2v_bert", f"model.part.{name}") for name in ("num_layers", "num_bert_layers"))
    assert value("kmeans", "model.part.layer") == layers - above + 7


@pytest.mark.parametrize(("part", "stage"), [("semantic", Semantic), ("coarse", Coarse), ("fine", Fine)])
def test_a_stage_has_the_paper_s_430_million_parameters(part: str, stage: type[Stage]) -> None:
    words = dict(value(part, "model.part.transformer"))
    with torch.device("meta"):
        built = stage(TransformerConfig(**words), pattern="flatten")  # type: ignore[call-arg, arg-type]
    millions = sum(parameter.numel() for parameter in built.parameters()) / 1e6
    assert millions == pytest.approx(430, rel=0.04)  # the paper's number is of no named stage
    assert f"{millions:.0f}M" in PAGE.read_text(encoding="utf-8")
