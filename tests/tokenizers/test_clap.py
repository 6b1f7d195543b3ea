"""CLAP in MuLan's place: what its publisher's code says of sound and text, in a part that needs no folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torchaudio.functional import resample

from musiclm import extras
from musiclm.bundle import build, load_component
from musiclm.cli import main
from musiclm.generation.pipeline import MusicLM
from musiclm.tokenizers.clap import Clap, read_clap
from musiclm.tokenizers.reading import Reading
from tests.tiny import folder_of_tones, melody

TEXTS = ["A calm violin melody", "techno", "", "drums " * 100]


def publish(folder: Path, *, fused: bool = False) -> Path:
    """A CLAP with random weights and windows of 2 s, in the folder that its publisher would make of it."""
    folder.mkdir(parents=True)
    publish_roberta_tokenizer(folder)
    text = {
        "vocab_size": 300,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 34,
        "pad_token_id": 1,
    }
    audio = {
        "num_mel_bins": 16,
        "spec_size": 64,
        "window_size": 4,
        "patch_stride": [4, 4],
        "depths": [1, 1],
        "num_attention_heads": [1, 2],
        "patch_embeds_hidden_size": 8,
        "hidden_size": 16,
        "enable_fusion": fused,
        "fusion_type": "aff_2d" if fused else None,
    }
    config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=12)
    torch.manual_seed(0)
    model = transformers.ClapModel(config)
    for parameter in model.parameters():  # as made, they are so small that every text says the same
        parameter.data.add_(0.3 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    transformers.ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=48_000,
        hop_length=960,
        max_length_s=2,
        truncation="fusion" if fused else "rand_trunc",
    ).save_pretrained(folder)
    return folder


def publish_roberta_tokenizer(folder: Path) -> None:
    """Every byte is a piece, and "th" and "dr" are."""
    from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

    pieces = ["<s>", "<pad>", "</s>", "<unk>", *bytes_to_unicode().values(), "th", "dr", "<mask>"]
    (folder / "vocab.json").write_text(json.dumps({piece: index for index, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\nt h\nd r\n")
    files = {"vocab_file": str(folder / "vocab.json"), "merges_file": str(folder / "merges.txt")}
    transformers.RobertaTokenizerFast(**files, model_max_length=32).save_pretrained(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("published") / "clap")


@pytest.fixture(scope="module")
def part(folder: Path) -> Clap:
    return read_clap(folder)[0]


def music(seconds: float, seed: int = 0) -> torch.Tensor:
    return melody(seconds, seed=seed).waveform[None]  # [1, 1, L]


@pytest.mark.parametrize("fused", [False, True])
def test_audio_is_heard_as_its_publisher_s_code_hears_it(fused: bool, tmp_path: Path) -> None:
    place = publish(tmp_path / "clap", fused=fused)
    waveform = music(2.0)
    extractor = transformers.ClapFeatureExtractor.from_pretrained(place)
    inputs = extractor(
        resample(waveform, 24_000, 48_000)[0, 0].numpy(), sampling_rate=48_000, return_tensors="pt"
    )
    inputs["is_longer"] = torch.tensor([[False]])  # the extractor says of one at random that it is
    model = transformers.ClapModel.from_pretrained(place).eval()
    with torch.no_grad():
        expected = model.get_audio_features(**inputs)
    # The published preprocessing is in float64.
    torch.testing.assert_close(read_clap(place)[0].embed_audio(waveform), expected, atol=1e-4, rtol=0)


def test_text_is_read_as_its_publisher_s_code_reads_it(folder: Path, part: Clap) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    assert inputs["input_ids"].shape == (4, 32)
    with torch.no_grad():
        expected = transformers.ClapModel.from_pretrained(folder).eval().get_text_features(**inputs)
    torch.testing.assert_close(part.embed_text(TEXTS), expected, atol=1e-5, rtol=0)
    assert (expected @ expected.T).min() < 0.99  # they are told apart


def test_it_knows_every_word_and_says_where_it_stops_reading(part: Clap) -> None:
    for text in ("une mélodie calme", "🎻", "A calm violin melody"):
        assert part.reading(text) == Reading()
    text = "Thunder and drums, thunder and drums, and no more"
    reading = part.reading(text)  # 32 pieces, two of them special
    assert reading.end is not None
    assert f"{reading.end} {reading.left_out}" == text
    assert torch.equal(part.embed_text([f"{text} at all"]), part.embed_text([text]))
    assert part.reading(reading.end) == Reading()


def test_it_has_the_interface_of_mulan(part: Clap) -> None:
    assert (part.sample_rate, part.dimension, part.window_seconds) == (24_000, 12, 2.0)
    assert part.embed_text([]).shape == (0, 12)
    waveform = music(4.5)
    windows = part.embed_windows(waveform)
    assert windows.shape == (3, 12)
    torch.testing.assert_close(windows.norm(dim=1), torch.ones(3))
    second = part.embed_audio(waveform[..., 24_000:72_000])
    torch.testing.assert_close(windows[1:2], second, atol=1e-5, rtol=0)
    mean = torch.nn.functional.normalize(windows.mean(dim=0), dim=0)
    torch.testing.assert_close(part.embed_audio(waveform)[0], mean, atol=1e-5, rtol=0)
    short = music(0.5)
    torch.testing.assert_close(part.embed_audio(short), part.embed_audio(short.tile(1, 1, 4)))
    both = part.embed_audio(torch.cat([music(2.0), music(2.0, seed=1)]))
    torch.testing.assert_close(both[:1], part.embed_audio(music(2.0)), atol=1e-5, rtol=0)


def test_an_imported_part_needs_nothing_of_the_folder_it_came_from(part: Clap, tmp_path: Path) -> None:
    place = publish(tmp_path / "clap")
    main(["import", "clap", str(place), "--out", str(tmp_path / "part")])
    shutil.rmtree(place)
    again = load_component(tmp_path / "part", "joint_embedding")
    assert torch.equal(again.embed_text(TEXTS), part.embed_text(TEXTS))
    assert torch.equal(again.embed_audio(music(3.0)), part.embed_audio(music(3.0)))
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_the_quantizer_is_fitted_to_it_and_music_is_made_with_both(part: Clap, tmp_path: Path) -> None:
    main(["import", "clap", str(publish(tmp_path / "clap")), "--out", str(tmp_path / "part")])
    configs = Path(__file__).parents[2] / "configs"
    main(
        [
            "fit",
            f"--config={configs / 'mulan_rvq.yaml'}",
            f"--config={configs / 'tiny' / 'mulan_rvq.yaml'}",
            f"--data.init_args.audio={folder_of_tones(tmp_path / 'tones', 3)}",
            f"--model.init_args.mulan={tmp_path / 'part'}",
            "--model.init_args.part.init_args.dimension=12",
            "--model.init_args.part.init_args.num_quantizers=12",  # as many as the default stages know
            f"--trainer.default_root_dir={tmp_path / 'rvq'}",
        ]
    )
    model = MusicLM.from_pretrained("default")
    model.joint_embedding, model.joint_quantizer = (
        load_component(tmp_path / "part"),
        load_component(tmp_path / "rvq" / "part"),
    )
    assert model.generate("a calm violin melody", seconds=0.1).seconds == 0.1


def broken(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:200])


def without(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink()


def of_another_kind(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "clip"}')


def of_another_size(folder: Path) -> None:
    words: dict[str, Any] = json.loads((folder / "config.json").read_text())
    words["projection_dim"] = 8
    (folder / "config.json").write_text(json.dumps(words))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: without(folder, "config.json"), "expected a published model"),
        (lambda folder: without(folder, "preprocessor_config.json"), "preprocessor_config.json"),
        (lambda folder: without(folder, "model.safetensors"), "expected the weights"),
        (lambda folder: without(folder, "tokenizer.json", "vocab.json"), "expected a text tokenizer"),
        (lambda folder: broken(folder, "config.json"), "truncated or altered"),
        (lambda folder: broken(folder, "model.safetensors"), "truncated or another model's"),
        (lambda folder: broken(folder, "tokenizer.json"), "cannot be read"),
        (of_another_kind, "expected a CLAP"),
        (of_another_size, "another model's"),
    ],
)
def test_a_folder_that_is_not_whole_is_one_line(
    harm: Any, said: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "clap"
    shutil.copytree(folder, place)
    harm(place)
    with pytest.raises(SystemExit) as stop:
        main(["import", "clap", str(place), "--out", str(tmp_path / "part")])
    assert stop.value.code == 2
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1
    assert not (tmp_path / "part").exists()


def test_without_its_package_one_line_says_what_to_install(
    folder: Path, part: Clap, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, words = read_clap(folder)
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    for use in (lambda: read_clap(folder), lambda: build("musiclm.tokenizers.clap.Clap", words)):
        with pytest.raises(ValueError, match=r"package transformers.*musiclm\[clap\]"):
            use()


def test_a_config_cannot_name_code(folder: Path) -> None:
    _, words = read_clap(folder)
    code = {"_attn_implementation": "evil/kernel", "auto_map": {"AutoModel": "evil--x.Y"}, "dtype": "evil"}
    config = words["config"] | code
    config["text_config"] = config["text_config"] | code | {"attn_implementation": "evil/kernel"}
    part = build("musiclm.tokenizers.clap.Clap", words | {"config": config})
    assert part.clap.config.text_config._attn_implementation != "evil/kernel"
    assert not hasattr(part.clap.config, "auto_map")
