"""MERT from a folder as published: what transformers' HuBERT says of the same weights."""

import json
from pathlib import Path

import pytest
import torch
import transformers

from musiclm.tokenizers.mert import read_mert
from tests.tiny import noise

SAMPLE_RATE = 24_000
SMALL = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
    "conv_dim": [8, 8], "conv_kernel": [400, 4], "conv_stride": [320, 4], "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip


def publish(folder: Path, **config: object) -> Path:
    """A small MERT with random weights, in the folder and under the names that its publisher gives them."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    model = transformers.HubertModel(transformers.HubertConfig(**SMALL))
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    state = {}
    for name, value in model.state_dict().items():
        for new, old in names.items():
            name = name.replace(new, old)
        state[name] = value
    torch.save(state, folder / "pytorch_model.bin")
    words = {
        **model.config.to_dict(), "model_type": "mert_model", "sample_rate": SAMPLE_RATE,
        "auto_map": {"AutoModel": "modeling_MERT.MERTModel"}, "feature_extractor_cqt": False, **config,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(words))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("published") / "mert")


def sound(seconds: float) -> torch.Tensor:
    return noise(round(seconds * SAMPLE_RATE), seed=1)


def test_an_embedding_is_the_mean_of_a_layer_of_the_published_model(folder: Path) -> None:
    torch.manual_seed(0)
    reference = transformers.HubertModel(transformers.HubertConfig(**SMALL)).eval()
    prepare = transformers.Wav2Vec2FeatureExtractor(sampling_rate=SAMPLE_RATE, do_normalize=True)
    values = prepare(sound(5.0)[0, 0].numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt").input_values
    with torch.no_grad():
        layers = reference(values, output_hidden_states=True).hidden_states
    for layer, expected in ((None, layers[2]), (1, layers[1])):
        found = read_mert(folder, layer=layer).embed_windows(sound(5.0))
        torch.testing.assert_close(found, expected.mean(dim=1), rtol=1e-4, atol=1e-5)


def test_windows_are_of_5_seconds_one_after_the_other(folder: Path) -> None:
    model = read_mert(folder)
    assert [len(model.embed_windows(sound(seconds))) for seconds in (2.0, 5.0, 9.0, 10.0)] == [1, 1, 1, 2]
    assert model.dimension == 16


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"feature_extractor_cqt": True}, "has feature_extractor_cqt"),
        ({"deepnorm": True}, "has deepnorm"),
        ({"model_type": "bert"}, "got bert"),
        ({"num_hidden_layers": 3}, "missing"),
    ],
)
def test_another_model_is_refused(config: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        read_mert(publish(tmp_path / "mert", **config))
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        read_mert(tmp_path)


def test_a_layer_that_is_not_there(folder: Path) -> None:
    with pytest.raises(ValueError, match="expected a layer of MERT from 1 to 2, got 3"):
        read_mert(folder, layer=3)
