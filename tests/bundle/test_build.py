"""Specs from a stranger: nothing is imported or called but this project's parts, however it is written."""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musiclm.bundle.build import build, check
from musiclm.tokenizers.convnext import ConvNeXtEncoder
from musiclm.tokenizers.soundstream import SoundStream
from tests.tiny_model import MELODY_PARTS, MELODY_STREAMS, PARTS, words_of

EVIL = "evil_tower"  # a module on the path that leaves a file behind when it is imported
SPECS = [
    *PARTS.values(),
    *MELODY_PARTS.values(),
    words_of(
        "tokenizers.w2v_bert_published.PublishedW2VBert",
        trunk=words_of("tokenizers.w2v_bert_published.HuggingFaceTrunk", num_layers=1, model_dim=8),
    ),
]


@pytest.fixture(scope="module", autouse=True)
def imported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file that the module leaves behind; no test may have made it."""
    folder = tmp_path_factory.mktemp("stranger")
    trace = folder / "imported"
    (folder / f"{EVIL}.py").write_text(
        f"from pathlib import Path\nfrom torch import nn\nPath({str(trace)!r}).touch()\n"
        "class Encoder(nn.Module):\n    def __init__(self, **values):\n        super().__init__()\n"
        "def run(*_, **__):\n    pass\n"
    )
    (folder / "words.yaml").write_text(f"class_path: {EVIL}.Encoder\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.chdir(folder)
        patch.setenv("EVIL", f"{EVIL}.Encoder")
        yield trace
    assert not trace.exists()
    assert EVIL not in sys.modules


NAMES = st.sampled_from(
    [
        f"{EVIL}.Encoder",
        f"{EVIL}.run",
        f"{EVIL}:Encoder",
        EVIL,
        "Encoder",
        "SoundStream",  # jsonargparse's shorthand
        f"musiclm.{EVIL}.Encoder",
        f"musiclm.tokenizers.{EVIL}.Encoder",
        f"musiclm.tokenizers.soundstream.{EVIL}.Encoder",
        f"musiclm.tokenizers.../../{EVIL}.Encoder",
        "musiclm.tokenizers.soundstream.nn.Identity",
        "musiclm.tokenizers.encodec.SEANetEncoder",  # of the package encodec
        "musiclm.tokenizers.mulan_towers._ResidualBlock",
        "musiclm.tokenizers.hub.read_json",
        "musiclm.tokenizers.soundstream.__builtins__",
        "musiclm.cli.main",
        "musiclm.bundle.pack",
        "musiclm.audio.os.system",
        "musiclm.training.soundstream.SoundStreamTraining",
        "os.system",
        "torch.nn.Identity",
        "words.yaml",
        "file://words.yaml",
        "github://some:one@main/words.yaml",
        "${EVIL}",
        "$EVIL",
        f"!!python/name:{EVIL}.Encoder",
        f"!!python/object/apply:{EVIL}.run []",
        f"{{class_path: {EVIL}.Encoder}}",
        f"lambda: __import__('{EVIL}')",
        f"local e = import '{EVIL}'; e",
    ]
)
FORMS = st.one_of(
    NAMES,
    st.builds(lambda name: {"class_path": name}, NAMES),
    st.builds(lambda name: {"class_path": name, "init_args": {}}, NAMES),
    st.builds(lambda name: {"class_path": name, "init_args": {"dimension": 8}, "dict_kwargs": {}}, NAMES),
    st.builds(lambda name: {"class_path": [name]}, NAMES),
    st.builds(lambda name: {"class_path": {"class_path": name}}, NAMES),
    st.builds(lambda name: {"__default_config__": name, "__path__": name}, NAMES),
    st.builds(lambda name: {"init_args": {"class_path": name}}, NAMES),
    st.builds(lambda name: {name: {}}, NAMES),
    st.builds(lambda name: [name, {"class_path": name}], NAMES),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Keys that lead to every value inside a spec."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


@st.composite
def altered_specs(draw: st.DrawFn) -> dict[str, Any]:
    """A spec of a part, with one value exchanged for, or a key added with, what names other code."""
    spec = deepcopy(draw(st.sampled_from(SPECS)))
    path = draw(st.sampled_from(places(spec)[1:]))
    holder = spec
    for key in path[:-1]:
        holder = holder[key]
    if holder is not spec and isinstance(holder, dict) and draw(st.booleans()):
        holder[draw(st.sampled_from(["__path__", "dict_kwargs", "trainer", "class_path!", "_"]))] = draw(
            FORMS
        )
    else:
        holder[path[-1]] = draw(FORMS)
    return spec


@settings(max_examples=150, deadline=None)
@given(spec=altered_specs())
def test_whatever_a_spec_names_nothing_foreign_is_imported(spec: dict[str, Any]) -> None:
    own = {stream["name"] for stream in MELODY_STREAMS}
    called = any(isinstance(each["name"], str) and each["name"] not in own for each in streams_of(spec))
    with nullcontext() if called else pytest.raises(ValueError, match=r"at model\.yaml: parts\.x"):
        check(spec.get("class_path"), spec.get("init_args"), "model.yaml: parts.x")  # type: ignore[arg-type]
    assert EVIL not in sys.modules


def streams_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The streams of a stage's spec. One may be called anything: its name is only compared with others."""
    values = spec.get("init_args")
    streams = values.get("streams") if isinstance(values, dict) else None
    return [each for each in streams if isinstance(each, dict) and "name" in each] if streams else []


@pytest.mark.parametrize("form", [f"{EVIL}.Encoder", {"class_path": f"{EVIL}.Encoder"}])
def test_the_message_names_the_key(form: Any) -> None:
    spec = deepcopy(PARTS["codec"])
    spec["init_args"]["encoder"] = form
    with pytest.raises(ValueError, match=r"class.* at model\.yaml: components\.codec\.init_args\.encoder"):
        build(**spec, place="model.yaml: components.codec")


def test_a_spec_makes_the_part_that_it_names() -> None:
    codec = build(**PARTS["codec"])
    assert isinstance(codec, SoundStream)
    assert isinstance(codec.encoder, ConvNeXtEncoder)
    tower = build(**PARTS["joint_embedding"]).audio
    assert len(tower.stages) == 2


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("dimension", "8", "expected a whole number at x.init_args.dimension, got '8'"),
        ("dimension", True, "expected a whole number"),
        ("dimension", None, "expected a whole number"),
        ("dimension", 8.0, "expected a whole number"),
        ("dimension", -1, "cannot build ResidualQuantizer from x.init_args"),
        ("speed", 1, "ResidualQuantizer has no 'speed'"),
    ],
)
def test_values_are_checked_before_they_are_used(name: str, value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build("musiclm.tokenizers.rvq.ResidualQuantizer", {name: value}, "x")


def test_what_a_constructor_needs_is_asked_for() -> None:
    with pytest.raises(ValueError, match=r"expected num_centroids of KMeans at x\.init_args, it is missing"):
        build("musiclm.tokenizers.kmeans.KMeans", {}, "x")
    stage = deepcopy(PARTS["fine_stage"])
    stage["init_args"]["transformer"] = {"width": 16}
    with pytest.raises(
        ValueError, match=r"expected layers of TransformerConfig at x\.init_args\.transformer"
    ):
        build(**stage, place="x")
    stage = deepcopy(PARTS["fine_stage"])
    stage["init_args"]["pattern"] = "spiral"
    with pytest.raises(ValueError, match=r"expected one of flatten, delay at x\.init_args\.pattern"):
        build(**stage, place="x")
    tower = deepcopy(PARTS["joint_embedding"])
    tower["init_args"]["audio"] = tower["init_args"]["text"]
    with pytest.raises(
        ValueError, match=r"expected a module of class AudioTower at x\.init_args\.audio, got TextTower"
    ):
        build(**tower, place="x")


def test_a_number_with_an_exponent_is_one() -> None:
    words = {"num_centroids": 2, "dimension": 2, "layer": 0}
    assert build("musiclm.tokenizers.kmeans.KMeans", words).layer == 0
    encoder = words_of("tokenizers.w2v_bert_published.HuggingFaceTrunk", num_layers=1, model_dim=8)
    spec = words_of("tokenizers.w2v_bert_published.PublishedW2VBert", trunk=encoder, window_seconds="1e1")
    assert check(**spec).values["window_seconds"] == 10.0
