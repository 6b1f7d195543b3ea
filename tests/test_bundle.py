"""Bundles: what is written comes back, and what is broken is refused in one line."""

from pathlib import Path

import pytest
import torch
import yaml

from musiclm.bundle import Bundle, build, load_part, merge, save_part
from musiclm.tokenizers.rvq import ResidualQuantizer

WORDS = {"dimension": 4, "num_quantizers": 2, "codebook_size": 8}
CLASS_PATH = "musiclm.tokenizers.rvq.ResidualQuantizer"


def _save(folder: Path, name: str = "mulan_rvq", *, scale: float = 1.0) -> ResidualQuantizer:
    part = ResidualQuantizer(**WORDS)
    part.codebooks.normal_().mul_(scale)
    save_part(folder, name, part, class_path=CLASS_PATH, init_args=WORDS, storage="float32")
    return part


def test_a_part_comes_back_as_it_was_frozen(tmp_path: Path) -> None:
    part = _save(tmp_path)
    again = load_part(tmp_path)
    assert torch.equal(again.codebooks, part.codebooks)
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())


@pytest.mark.parametrize(("storage", "tolerance"), [("float32", 0.0), ("float16", 1e-3), ("int8", 1e-2)])
def test_matrices_survive_storage_within_its_precision(tmp_path: Path, storage, tolerance: float) -> None:
    encoder = {
        "class_path": "musiclm.tokenizers.seanet.SEANetEncoder",
        "init_args": {"dimension": 8, "width": 8},
    }
    part = build(encoder["class_path"], encoder["init_args"])
    save_part(tmp_path, "encoder", part, storage=storage, **encoder)
    again = load_part(tmp_path)
    for (name, before), after in zip(part.state_dict().items(), again.state_dict().values(), strict=True):
        scale = before.abs().max().clamp(min=1e-9)
        assert ((before - after).abs().max() / scale) <= tolerance, name


def test_fingerprints_tell_weights_and_words_apart(tmp_path: Path) -> None:
    prints = []
    for name, scale in (("a", 1.0), ("same", 1.0), ("b", 2.0)):
        torch.manual_seed(0)
        _save(tmp_path / name, scale=scale)
        prints.append(Bundle(tmp_path / name).fingerprint("mulan_rvq"))
    assert prints[0] == prints[1] != prints[2]


def test_merging_keeps_every_part_and_the_last_of_a_name(tmp_path: Path) -> None:
    first = _save(tmp_path / "a", "one")
    _save(tmp_path / "b", "two")
    bundle = merge([Bundle(tmp_path / "a"), Bundle(tmp_path / "b")], tmp_path / "ab", {"guidance": 2.0})
    assert list(bundle.parts) == ["one", "two"]
    assert bundle.settings == {"guidance": 2.0}
    assert torch.equal(bundle.load("one").codebooks, first.codebooks)

    newer = _save(tmp_path / "c", "one")
    bundle = merge([bundle, Bundle(tmp_path / "c")], tmp_path / "abc")
    assert torch.equal(bundle.load("one").codebooks, newer.codebooks)
    assert bundle.settings == {"guidance": 2.0}


def test_a_stage_is_not_packed_with_other_tokenizers_than_it_has_learned(tmp_path: Path) -> None:
    _save(tmp_path / "tokenizer")
    _save(tmp_path / "other", scale=2.0)
    good = Bundle(tmp_path / "tokenizer").fingerprint("mulan_rvq")
    part = ResidualQuantizer(**WORDS)
    stage = save_part(
        tmp_path / "stage",
        "semantic",
        part,
        class_path=CLASS_PATH,
        init_args=WORDS,
        storage="float32",
        trained_on={"mulan_rvq": good},
    )
    merge([Bundle(tmp_path / "tokenizer"), stage], tmp_path / "right")
    with pytest.raises(ValueError, match="trained on tokens of mulan_rvq"):
        merge([Bundle(tmp_path / "other"), stage], tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()


def test_missing_truncated_and_altered_files_are_refused(tmp_path: Path) -> None:
    _save(tmp_path)
    weights = tmp_path / "mulan_rvq.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-10])
    with pytest.raises(ValueError, match="truncated or altered"):
        load_part(tmp_path)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match="get the bundle again"):
        load_part(tmp_path)
    (tmp_path / "model.yaml").write_text("parts: [")
    with pytest.raises(ValueError, match="expected YAML"):
        Bundle(tmp_path)
    (tmp_path / "model.yaml").write_text("format: 99\nparts: {}")
    with pytest.raises(ValueError, match="format 1"):
        Bundle(tmp_path)


def test_weights_of_other_sizes_than_this_version_builds_are_refused(tmp_path: Path) -> None:
    others = {**WORDS, "codebook_size": 9}
    part = ResidualQuantizer(**WORDS)
    save_part(tmp_path, "mulan_rvq", part, class_path=CLASS_PATH, init_args=others, storage="float32")
    with pytest.raises(ValueError, match="as this version builds it"):
        load_part(tmp_path)


def test_a_damaged_source_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    _save(tmp_path / "whole", "first")
    _save(tmp_path / "torn", "second")
    weights = tmp_path / "torn" / "second.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ValueError, match="truncated or altered"):
        merge([Bundle(tmp_path / "whole"), Bundle(tmp_path / "torn")], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(FileNotFoundError, match="no-such-bundle"):
        Bundle.find("no-such-bundle")


def test_a_stranger_s_bundle_cannot_name_other_classes(tmp_path: Path) -> None:
    _save(tmp_path)
    words = yaml.safe_load((tmp_path / "model.yaml").read_text())
    words["parts"]["mulan_rvq"]["class_path"] = "subprocess.Popen"
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(words))
    with pytest.raises(ValueError, match="truncated or altered"):
        load_part(tmp_path)
    with pytest.raises(ValueError, match="of this project"):
        build("subprocess.Popen", {"args": ["true"]})
    with pytest.raises(ValueError, match="of this project"):
        build(CLASS_PATH, {"dimension": {"class_path": "subprocess.Popen", "init_args": {}}})
