"""MuQ-MuLan in MuLan's place: one line where its package is absent, what the package says where it is not."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import transformers

from musiclm.bundle import load_component
from musiclm.cli import main
from musiclm.tokenizers.muq_mulan import MuQMuLan, read_muq_mulan
from tests.tiny import melody
from tests.tokenizers.test_clap import publish_roberta_tokenizer

ABSENT = find_spec("muq") is None
TEXTS = ["a calm violin melody", "techno", ""]


@pytest.mark.skipif(not ABSENT, reason="the package is installed")
def test_without_its_package_one_line_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["import", "muq_mulan", folder, folder, folder, "--out", str(tmp_path / "part")])
    assert stop.value.code == 2
    line = capsys.readouterr().err
    assert "expected the package muq" in line
    assert "pip install 'musiclm[muq]'" in line
    assert line.count("\n") == 1
    with pytest.raises(ValueError, match="package muq"):
        MuQMuLan({}, {}, {})


def publish(root: Path) -> tuple[list[Path], torch.nn.Module]:
    """Folders of MuQ-MuLan, MuQ and XLM-RoBERTa as published, tiny and with random weights; and the model."""
    from muq import MuQ, MuQMuLan

    folders = [root / "mulan", root / "muq", root / "xlm-roberta"]
    for folder in folders:
        folder.mkdir(parents=True)
    conformer = transformers.Wav2Vec2ConformerConfig(
        hidden_size=16, num_attention_heads=2, intermediate_size=16, num_hidden_layers=2
    )
    music = {
        "conv_dim": 8,
        "encoder_dim": 16,
        "encoder_depth": 2,
        "stat": {"melspec_2048_mean": 0.0, "melspec_2048_std": 20.0},
        "w2v2_config": json.loads(conformer.to_json_string(use_diff=False)),
    }
    torch.manual_seed(0)
    MuQ(music).save_pretrained(folders[1], config=music)
    text = transformers.XLMRobertaConfig(
        vocab_size=300,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=34,
        pad_token_id=1,
    )
    transformers.XLMRobertaModel(text).save_pretrained(folders[2])
    publish_roberta_tokenizer(folders[2])
    config = {
        "mulan": {"sr": 24_000, "clip_secs": 2, "dim_latent": 12},
        "audio_model": {"name": str(folders[1]), "model_dim": 16, "use_layer_idx": -1},
        "text_model": {"name": str(folders[2]), "model_dim": 16},
        "audio_transformer": {"dim": 16, "tf_depth": 1, "heads": 2, "dim_head": 8},
        "text_transformer": {"dim": 16, "tf_depth": 1, "heads": 2, "dim_head": 8},
    }
    model = MuQMuLan(config).eval()
    model.save_pretrained(folders[0], config=config)
    (folders[0] / "config.json").write_text(json.dumps(config))
    return folders, model


@pytest.mark.skipif(ABSENT, reason="the optional package muq is not installed")
@pytest.mark.filterwarnings("ignore")  # of a package that is not ours
def test_sound_and_text_are_what_the_published_package_makes_of_them(tmp_path: Path) -> None:
    folders, published = publish(tmp_path / "published")
    part, _ = read_muq_mulan(folders[0], music=folders[1], text=folders[2])
    assert (part.sample_rate, part.dimension, part.window_seconds) == (24_000, 12, 2.0)
    waveform = melody(2.0, seed=0).waveform[None]
    with torch.no_grad():
        torch.testing.assert_close(part.embed_audio(waveform), published(wavs=waveform[0]), atol=1e-5, rtol=0)
        for text in TEXTS:
            expected = published(texts=[text])
            torch.testing.assert_close(part.embed_text(["x", text])[1:], expected, atol=1e-5, rtol=0)
    assert part.embed_windows(melody(4.5, seed=0).waveform[None]).shape == (3, 12)
    assert part.embed_text(["drums " * 100]).shape == (1, 12)
    assert part.reading("drums " * 100).end
    assert part.reading("une mélodie").unknown == ()

    main(["import", "muq_mulan", *map(str, folders), "--out", str(tmp_path / "part")])
    shutil.rmtree(tmp_path / "published")
    again = load_component(tmp_path / "part")
    assert torch.equal(again.embed_text(TEXTS), part.embed_text(TEXTS))
    assert torch.equal(again.embed_audio(waveform), part.embed_audio(waveform))
