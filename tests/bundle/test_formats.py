"""What earlier versions wrote is read for ever: bundles, class paths that have moved, stores."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

import musiclm.bundle
from musiclm.bundle import Bundle, aliases, load_component, merge
from musiclm.bundle.component import fingerprint_of
from musiclm.data.store import DESCRIPTION, TokenStore
from musiclm.data.token_crops import TokenCrops
from tests.golden.make_bundles import FILE, FOLDER, golden
from tests.tiny import make_token_store

FORMATS = ("format_1", "format_2")
OLD_NAME = "soundstream"  # of the codec, in version 0.1


@pytest.mark.parametrize("name", FORMATS)
def test_a_bundle_of_any_format_says_and_plays_what_it_did(name: str) -> None:
    expected = load_file(FILE)
    found = golden(FOLDER / name)
    assert found.keys() == expected.keys()
    for key, value in found.items():
        # Sums are rounded in another order on other processors; a code drawn otherwise is off by 0.1.
        torch.testing.assert_close(value, expected[key], rtol=0, atol=2e-3, msg=key)


def test_a_bundle_has_the_same_fingerprints_in_any_format() -> None:
    first, second = (Bundle(FOLDER / name) for name in FORMATS)
    assert first.fingerprint() == second.fingerprint()
    for role, component in first.components.items():
        own = replace(component, file=f"{role}.safetensors", words=second.component(role).words)
        assert own == second.component(role)
    assert first.pipeline == second.pipeline
    for role in first.components:
        assert first.fingerprint(role) == second.fingerprint(role)
        assert second.component(role).is_known_as(*second.component(role).formerly)


def test_what_is_packed_of_format_1_is_format_2_and_plays_the_same(tmp_path: Path) -> None:
    packed = merge([Bundle(FOLDER / "format_1")], tmp_path / "packed")
    assert (packed.path / "model.yaml").read_text() == (FOLDER / "format_2" / "model.yaml").read_text()


def test_a_class_may_move_and_its_bundles_are_what_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(FOLDER / "format_2", tmp_path / "old")
    file = tmp_path / "old" / "model.yaml"
    moved = {
        "musiclm.tokenizers.elsewhere.Codec": "musiclm.tokenizers.soundstream.SoundStream",
        "musiclm.tokenizers.elsewhere.Encoder": "musiclm.tokenizers.convnext.ConvNeXtEncoder",
        "musiclm.generation.elsewhere.Model": "musiclm.generation.pipeline.MusicLM",
    }
    text = file.read_text()
    for old, new in moved.items():
        assert new in text
        text = text.replace(new, old)
    file.write_text(text)
    with pytest.raises(ValueError, match="nothing else is imported"):
        Bundle(tmp_path / "old").check()
    monkeypatch.setattr(aliases, "CLASSES", moved)
    bundle = Bundle(tmp_path / "old")
    bundle.check()
    assert bundle.fingerprint() == Bundle(FOLDER / "format_2").fingerprint()
    assert bundle.load("codec").sample_rate == 24_000


def test_a_fingerprint_is_of_role_values_and_weights_and_of_no_path() -> None:
    spec = {"encoder": {"class_path": "a.b.C", "init_args": {"width": 4}}, "levels": 2}
    same = {"encoder": {"class_path": "x.y.Z", "init_args": {"width": 4}}, "levels": 2}
    wider = {"encoder": {"class_path": "a.b.C", "init_args": {"width": 5}}, "levels": 2}
    own = fingerprint_of("codec", spec, b"weights")
    assert fingerprint_of("codec", same, b"weights") == own
    assert own not in (
        fingerprint_of("codec", wider, b"weights"),
        fingerprint_of("codec", spec, b"others"),
        fingerprint_of("autoencoder", spec, b"weights"),
    )


def test_old_names_of_roles_are_understood_with_a_warning() -> None:
    bundle = Bundle(FOLDER / "format_2")
    with pytest.warns(DeprecationWarning, match="role soundstream is called codec now"):
        old = bundle.load(OLD_NAME)
    assert type(old) is type(bundle.load("codec"))


def test_old_names_of_functions_work_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match="load_part is called load_component now"):
        old = musiclm.bundle.load_part
    assert old is load_component
    with pytest.raises(AttributeError, match="no attribute 'load_parts'"):
        _ = musiclm.bundle.load_parts


def test_an_old_store_is_of_the_same_tokenizers_and_still_trains(tmp_path: Path) -> None:
    """Its roles, fingerprints and the folder of its quantizer are those of version 0.1."""
    make_token_store(tmp_path)
    bundle = Bundle(FOLDER / "format_1")
    new_names = {role: old for old, role in aliases.ROLES.items()}
    makers = ("codec", "semantic_encoder", "semantic_quantizer", "joint_embedding", "joint_quantizer")
    words = yaml.safe_load((tmp_path / DESCRIPTION).read_text())
    words["fingerprints"] = {new_names[role]: bundle.component(role).formerly[0] for role in makers}
    (tmp_path / DESCRIPTION).write_text(yaml.safe_dump(words))
    (tmp_path / "joint_quantizer").rename(tmp_path / "mulan_rvq")

    for name in FORMATS:
        TokenStore(tmp_path).check_learned_by(Bundle(FOLDER / name))
    assert {stream.name: stream.levels for stream in TokenCrops(tmp_path, 2.0).streams}["mulan"] == 3
    words["fingerprints"]["kmeans"] = "another"
    (tmp_path / DESCRIPTION).write_text(yaml.safe_dump(words))
    with pytest.raises(ValueError, match="made by another semantic_quantizer"):
        TokenStore(tmp_path).check_learned_by(Bundle(FOLDER / "format_2"))


def test_a_stage_of_format_1_is_packed_with_tokenizers_of_format_2(tmp_path: Path) -> None:
    only = ["semantic_stage", "coarse_stage", "fine_stage"]
    stages = tmp_path / "stages"
    shutil.copytree(FOLDER / "format_1", stages)
    words = yaml.safe_load((stages / "model.yaml").read_text())
    words["parts"] = {name: words["parts"][name] for name in ("semantic", "coarse", "fine")}
    (stages / "model.yaml").write_text(yaml.safe_dump(words))
    packed = merge([Bundle(FOLDER / "format_2"), Bundle(stages)], tmp_path / "packed")
    assert packed.fingerprint() == Bundle(FOLDER / "format_2").fingerprint()
    assert set(only) < set(packed.components)
    assert load_component(packed.path, "fine_stage").layout.target.name == "fine"
