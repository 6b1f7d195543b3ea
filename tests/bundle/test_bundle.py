"""Bundles: what is written comes back, and what is broken is refused in one line."""

import pickle
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from musiclm.bundle import Bundle, build, load_component, merge, save_component
from musiclm.bundle.aliases import settings_by_component
from musiclm.bundle.commands import read_settings_file
from musiclm.bundle.component import fingerprint_of
from musiclm.cli import main
from musiclm.files import only_writer
from musiclm.tokenizers.rvq import ResidualQuantizer
from tests.tiny_model import make_bundle

WORDS = {"dimension": 4, "num_quantizers": 2, "codebook_size": 8}
CLASS_PATH = "musiclm.tokenizers.rvq.ResidualQuantizer"


def _save(folder: Path, name: str = "joint_quantizer", *, scale: float = 1.0) -> ResidualQuantizer:
    part = ResidualQuantizer(**WORDS)
    part.codebooks.normal_().mul_(scale)
    save_component(folder, name, part, class_path=CLASS_PATH, init_args=WORDS, storage="float32")
    return part


def test_a_part_comes_back_as_it_was_frozen(tmp_path: Path) -> None:
    part = _save(tmp_path)
    again = load_component(tmp_path)
    assert torch.equal(again.codebooks, part.codebooks)
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_nothing_of_a_part_is_left_as_its_memory_was(tmp_path: Path) -> None:
    """What a file has is not drawn first; what only training needs, and no file has, is."""
    bundle = Bundle(make_bundle(tmp_path, melody=True, score=True, diffusion=True, tokens=True))
    before, _ = torch.get_rng_state(), bundle.load("semantic_stage")
    assert torch.equal(torch.get_rng_state(), before)
    torch.use_deterministic_algorithms(True)  # new memory is NaN
    try:
        for role in bundle.components:
            part = bundle.load(role)
            for name, value in [*part.named_parameters(), *part.named_buffers()]:
                assert value.isfinite().all(), f"{role}: {name}"
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(("storage", "tolerance"), [("float32", 0.0), ("float16", 1e-3), ("int8", 1e-2)])
def test_matrices_survive_storage_within_its_precision(tmp_path: Path, storage, tolerance: float) -> None:
    encoder = {
        "class_path": "musiclm.tokenizers.seanet.SEANetEncoder",
        "init_args": {"dimension": 8, "width": 8},
    }
    part = build(encoder["class_path"], encoder["init_args"])
    save_component(tmp_path, "encoder", part, storage=storage, **encoder)
    again = load_component(tmp_path)
    for (name, before), after in zip(part.state_dict().items(), again.state_dict().values(), strict=True):
        scale = before.abs().max().clamp(min=1e-9)
        assert ((before - after).abs().max() / scale) <= tolerance, name


def test_fingerprints_tell_weights_and_words_apart(tmp_path: Path) -> None:
    prints = []
    for name, scale in (("a", 1.0), ("same", 1.0), ("b", 2.0)):
        torch.manual_seed(0)
        _save(tmp_path / name, scale=scale)
        prints.append(Bundle(tmp_path / name).fingerprint("joint_quantizer"))
    assert prints[0] == prints[1] != prints[2]


def test_merging_keeps_every_part_and_the_last_of_a_name(tmp_path: Path) -> None:
    first = _save(tmp_path / "a", "one")
    _save(tmp_path / "b", "two")
    settings = {"one": {"context": 2}}
    bundle = merge([Bundle(tmp_path / "a"), Bundle(tmp_path / "b")], tmp_path / "ab", settings)
    assert list(bundle.components) == ["one", "two"]
    assert bundle.settings("one") == {"context": 2}
    assert torch.equal(bundle.load("one").codebooks, first.codebooks)

    newer = _save(tmp_path / "c", "one")
    bundle = merge([bundle, Bundle(tmp_path / "c")], tmp_path / "abc")
    assert torch.equal(bundle.load("one").codebooks, newer.codebooks)
    assert bundle.settings("one") == {"context": 2}


def test_a_stage_is_not_packed_with_other_tokenizers_than_it_has_learned(tmp_path: Path) -> None:
    _save(tmp_path / "tokenizer")
    _save(tmp_path / "other", scale=2.0)
    good = Bundle(tmp_path / "tokenizer").fingerprint("joint_quantizer")
    part = ResidualQuantizer(**WORDS)
    stage = save_component(
        tmp_path / "stage",
        "semantic_stage",
        part,
        class_path=CLASS_PATH,
        init_args=WORDS,
        storage="float32",
        trained_on={"joint_quantizer": good},
    )
    merge([Bundle(tmp_path / "tokenizer"), stage], tmp_path / "right")
    with pytest.raises(ValueError, match="trained on tokens of joint_quantizer"):
        merge([Bundle(tmp_path / "other"), stage], tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()


def test_missing_truncated_and_altered_files_are_refused(tmp_path: Path) -> None:
    _save(tmp_path)
    weights = tmp_path / "joint_quantizer.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-10])
    with pytest.raises(ValueError, match="truncated or altered"):
        load_component(tmp_path)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match="get the bundle again"):
        load_component(tmp_path)
    (tmp_path / "model.yaml").write_text("parts: [")
    with pytest.raises(ValueError, match="expected YAML"):
        Bundle(tmp_path)
    (tmp_path / "model.yaml").write_text("format: 99\ncomponents: {}")
    with pytest.raises(ValueError, match="format 2 or 1"):
        Bundle(tmp_path)


def test_weights_of_other_sizes_than_this_version_builds_are_refused(tmp_path: Path) -> None:
    others = {**WORDS, "codebook_size": 9}
    part = ResidualQuantizer(**WORDS)
    save_component(
        tmp_path, "joint_quantizer", part, class_path=CLASS_PATH, init_args=others, storage="float32"
    )
    with pytest.raises(ValueError, match="as this version builds it"):
        load_component(tmp_path)


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


def test_an_altered_spec_is_refused(tmp_path: Path) -> None:
    _save(tmp_path)
    words = yaml.safe_load((tmp_path / "model.yaml").read_text())
    entry = words["components"]["joint_quantizer"]
    for name, value, said in (
        ("init_args", {**WORDS, "codebook_size": 9}, "truncated or altered"),
        ("class_path", "subprocess.Popen", "nothing else is imported"),
    ):
        altered = {"joint_quantizer": {**entry, name: value}}
        (tmp_path / "model.yaml").write_text(yaml.safe_dump({**words, "components": altered}))
        with pytest.raises(ValueError, match=said):
            load_component(tmp_path)


def _stranger(folder: Path, *, name: str = "joint_quantizer", **changes: Any) -> Path:
    """A bundle whose model.yaml says something else, with the fingerprint that fits."""
    _save(folder)
    content = yaml.safe_load((folder / "model.yaml").read_text())
    entry = content["components"].pop("joint_quantizer") | changes
    weights = (folder / "joint_quantizer.safetensors").read_bytes()
    entry["fingerprint"] = fingerprint_of(name, entry["init_args"], weights)
    content["components"][name] = entry
    (folder / "model.yaml").write_text(yaml.safe_dump(content))
    return folder


EVIL = {
    "class": {"class_path": "evil_tower.Encoder"},
    "string": {"init_args": WORDS | {"dimension": "evil_tower.Encoder"}},
    "mapping": {"init_args": WORDS | {"dimension": {"class_path": "evil_tower.Encoder"}}},
    "extra": {"init_args": WORDS | {"dict_kwargs": {"class_path": "evil_tower.Encoder"}}},
}


@pytest.mark.parametrize("changes", EVIL.values(), ids=EVIL)
def test_no_code_of_a_stranger_is_run_by_loading_or_packing(
    changes: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "evil_tower.py").write_text("raise SystemExit('this was imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder = _stranger(tmp_path / "stranger", **changes)
    with pytest.raises(ValueError, match=rf"{folder / 'model.yaml'}: components\.joint_quantizer"):
        load_component(folder)
    for command in (["bundle", "info", str(folder)], ["bundle", "pack", str(folder), "--out", "packed"]):
        with pytest.raises(SystemExit) as stop:
            main(command)
        assert stop.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{folder / 'model.yaml'}: components.joint_quantizer" in line
    assert not (tmp_path / "packed").exists()
    assert "evil_tower" not in sys.modules


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "..", "", ".x", "a b", "x.safetensors", "é", 7])
def test_the_name_of_a_part_is_no_path(name: Any, tmp_path: Path) -> None:
    folder = _stranger(tmp_path / "stranger", name=name)
    with pytest.raises(ValueError, match=r"expected (names of components|words as keys)"):
        Bundle(folder)
    if isinstance(name, str):
        with pytest.raises(ValueError, match="expected names of components"):
            _save(tmp_path / "own", name)
        assert not (tmp_path / "own").exists()


@pytest.mark.parametrize("file", ["../model.safetensors", "/etc/passwd", "..", "model.yaml", 7, None])
def test_the_weights_are_a_file_of_the_bundle_s_own_folder(file: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a whole entry of joint_quantizer"):
        Bundle(_stranger(tmp_path, file=file))


@pytest.mark.parametrize(
    "content",
    [
        "[1, 2]",
        "format: 2\ncomponents: [a]",
        "format: 2\ncomponents: {a: b}",
        "format: 2\ncomponents: {a: {class_path: x, init_args: {}, file: a.safetensors, fingerprint: 0}}",
        "format: 1\nparts: [a]",
        "format: 1\nparts: {a: b}",
        "format: 1\nparts: {a: {class_path: x, init_args: [], file: a, fingerprint: 0}}",
        "format: 1\nparts: &a {b: *a}",
        "format: 2\ncomponents: {}\nmade: 2020-01-01",
        "format: 1\nparts: {}\nmade: 2020-99-01",
        "format: 1\nparts: {}\nmade: !!python/name:os.system",
        "format: 1\nparts: {}\n? [1]\n: 2",
        "[" * 600,
        "\n".join(["a0: &a0 [1]", *(f"a{n}: &a{n} [{3 * f'*a{n - 1},'}]" for n in range(1, 30))]),  # 3^30
        "\x00",
        "# " + 2**20 * "a",
    ],
)
def test_what_is_no_bundle_is_refused_at_once(content: str, tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(content)
    with pytest.raises(ValueError, match=r"model\.yaml"):
        Bundle(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no weights", pickle.dumps({"a": 1}), bytes(2000)])
def test_weights_that_are_none_are_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    _save(tmp_path / "part")
    (tmp_path / "part" / "joint_quantizer.safetensors").write_bytes(content)
    words = yaml.safe_load((tmp_path / "part" / "model.yaml").read_text())
    entry = words["components"]["joint_quantizer"]
    entry["fingerprint"] = fingerprint_of("joint_quantizer", entry["init_args"], content)
    (tmp_path / "part" / "model.yaml").write_text(yaml.safe_dump(words))
    for use in (lambda: load_component(tmp_path / "part"), lambda: merge([Bundle(tmp_path / "part")], "out")):
        with pytest.raises(
            ValueError, match=r"expected weights \(safetensors\) in .*joint_quantizer\.safetensors"
        ):
            use()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    ("role", "settings", "said"),
    [
        ("fine_stage", "window: -1", "expected window of fine_stage of 0.1 to 600, got -1"),
        ("fine_stage", "window: .nan", "a finite number"),
        ("coarse_stage", "window: .inf", "a finite number"),
        ("coarse_stage", "carry: true", "a finite number"),
        ("semantic_stage", "stride: 30", "shorter than its window"),
        ("coarse_stage", "carry: 0", "carry of coarse_stage of 0.1 to 600, got 0"),
        ("semantic_stage", "temperature: -0.1", "temperature of semantic_stage of 0 to 100"),
        ("coarse_stage", "temperature: hot", "a finite number"),
        ("fine_stage", "temperature: 1e9", "temperature of fine_stage of 0 to 100"),
        ("semantic_stage", "top_k: 0", "top_k of semantic_stage of 1 to"),
        ("coarse_stage", "top_k: 2.5", "a whole number"),
        ("semantic_stage", "guidance: -1", "guidance of semantic_stage of 0 to 100"),
        ("coarse_stage", "guidance: [1]", "a finite number"),
        ("codec", "context: -1", "context of codec of 0 to 10000"),
        ("codec", "context: null", "a whole number"),
        ("codec", "speed: 2", "has no 'speed'"),
        ("joint_embedding", "speed: 2", "got some of joint_embedding"),
    ],
)
def test_settings_are_checked_when_they_are_packed_and_when_they_are_read(
    role: str,
    settings: str,
    said: str,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.yaml").write_text(f"{role}: {{{settings}}}")
    shutil.copytree(whole, tmp_path / "stranger")
    content = yaml.safe_load((whole / "model.yaml").read_text())
    content["components"][role]["settings"] = yaml.safe_load(f"{{{settings}}}")
    (tmp_path / "stranger" / "model.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    for command, place in (
        (["bundle", "pack", str(whole), "--settings", "settings.yaml", "--out", "out"], "the settings"),
        (["bundle", "pack", "stranger", "--out", "out"], "the settings"),
        (["bundle", "info", "stranger"], "stranger/model.yaml"),
        (["generate", "a tune", "--bundle", "stranger"], "stranger/model.yaml"),
    ):
        with pytest.raises(SystemExit):
            main(command)
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
        assert role in line
        assert place in line or "of " + role in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("settings", ["[1]", "semantic_windou: 3", "codec: 1\nfine_stage: {}"])
def test_a_file_of_settings_that_says_something_else_is_refused(settings: str, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(settings)
    with pytest.raises(ValueError, match=r"settings\.yaml"):
        read_settings_file(tmp_path / "settings.yaml")


def test_the_settings_of_format_1_are_those_of_components() -> None:
    flat = {"semantic_window": 3.0, "coarse_carry": 1.0, "decoder_context": 4}
    assert settings_by_component(flat, "here") == {
        "semantic_stage": {"window": 3.0}, "coarse_stage": {"carry": 1.0}, "codec": {"context": 4}
    }  # fmt: skip


def test_a_bundle_is_not_packed_among_other_things(tmp_path: Path) -> None:
    _save(tmp_path / "part")
    music = tmp_path / "music"
    music.mkdir()
    (music / "song.flac").write_bytes(b"x")
    with pytest.raises(ValueError, match="expected an empty folder or a bundle to write to"):
        merge([Bundle(tmp_path / "part")], music)
    with pytest.raises(ValueError, match=r"holds song\.flac"):
        _save(music)
    assert [file.name for file in music.iterdir()] == ["song.flac"]
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="is a file"):
        merge([Bundle(tmp_path / "part")], tmp_path / "file")


def test_packing_replaces_a_bundle_and_what_a_stopped_packing_left(tmp_path: Path) -> None:
    _save(tmp_path / "a", "one")
    _save(tmp_path / "b", "two")
    left = tmp_path / "out"
    left.mkdir()
    (left / "two.safetensors").write_bytes(b"half")
    (left / ".model.1.tmp.yaml").touch()
    merge([Bundle(tmp_path / "a")], left)
    merge([Bundle(left), Bundle(tmp_path / "b")], left)
    assert list(Bundle(left).components) == ["one", "two"]
    merge([Bundle(tmp_path / "b")], left)
    assert sorted(file.name for file in left.glob("[!.]*")) == ["model.yaml", "two.safetensors"]
    Bundle(left).load("two")


def test_two_do_not_pack_into_one_folder(tmp_path: Path) -> None:
    _save(tmp_path / "part")
    with only_writer(tmp_path / "out"), pytest.raises(BlockingIOError, match=r"process \d+"):
        merge([Bundle(tmp_path / "part")], tmp_path / "out")
    merge([Bundle(tmp_path / "part")], tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "joint_quantizer.safetensors",
        "model.yaml",
    ]


def test_a_full_disk_leaves_the_bundle_that_was_there(tmp_path: Path) -> None:
    _save(tmp_path / "out", "one")
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    _save(tmp_path / "a", "one", scale=2.0)
    part = build(CLASS_PATH, {**WORDS, "dimension": 4000})
    large = {"class_path": CLASS_PATH, "init_args": {**WORDS, "dimension": 4000}}
    save_component(tmp_path / "b", "two", part, storage="float32", **large)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # bytes: as much as fits
    try:
        with pytest.raises(OSError, match="expected room for the bundle"):
            merge([Bundle(tmp_path / "a"), Bundle(tmp_path / "b")], tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before
