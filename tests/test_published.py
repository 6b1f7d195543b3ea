"""Published weights become parts: whole files only, one line for the others, and the file is needed once."""

import gc
import shutil
import socket
import warnings
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from encodec import EncodecModel
from safetensors.torch import save_file

from musiclm.bundle import Bundle, load_component
from musiclm.cli import main
from musiclm.data.store import TokenStore
from musiclm.tokenizers.encodec import EnCodec
from musiclm.tokenizers.published_weights import read_published
from tests.tiny import folder_of_tones, melody

Published = tuple[Path, EncodecModel]


@pytest.fixture(scope="module")
def part(published_encodec: Published, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `musiclm import encodec` has written, the published file being gone."""
    folder = tmp_path_factory.mktemp("import")
    file = folder / published_encodec[0].name
    shutil.copy(published_encodec[0], file)
    main(["import", "encodec", "--weights", str(file), "--out", str(folder / "part")])
    file.unlink()
    return folder / "part"


def test_a_part_needs_the_published_file_no_more(part: Path, published_encodec: Published) -> None:
    codec = load_component(part)
    assert isinstance(codec, EnCodec)
    assert not codec.training
    waveform = melody(0.5, seed=0).waveform[None]
    model = published_encodec[1]
    model.set_target_bandwidth(6.0)
    with torch.no_grad():
        ((wanted, _),) = model.encode(waveform)
    assert torch.equal(codec.encode(waveform), wanted)


def test_a_part_holds_no_more_than_coding_needs(part: Path) -> None:
    assert (part / "codec.safetensors").stat().st_size < 66e6  # bytes; the published file has 93e6


def fails(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_a_file_that_is_not_what_its_name_says_is_refused(
    published_encodec: Published, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torn = tmp_path / published_encodec[0].name
    torn.write_bytes(published_encodec[0].read_bytes()[:-1])
    error = fails(capsys, "import", "encodec", "--weights", torn, "--out", tmp_path / "part")
    assert "truncated or altered" in error
    assert not (tmp_path / "part").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "found none"), (b"no weights", "cannot be read"), (torch.zeros(3), "found a Tensor"),
     ({"a": torch.zeros(3)}, "24 kHz model")],
)  # fmt: skip
def test_what_is_no_file_of_encodec_is_refused(
    content: object, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "weights.th"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save(content, file)
    assert words in fails(capsys, "import", "encodec", "--weights", file, "--out", tmp_path / "part")
    assert not (tmp_path / "part").exists()


class Code:
    """Pickled, it would call a function when it is read."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("pickle-was-run"),)


def test_no_code_of_a_published_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Code()}, tmp_path / "evil.th")
    with pytest.raises(ValueError, match="cannot be read"):
        read_published(tmp_path / "evil.th")
    assert not (tmp_path / "pickle-was-run").exists()


def test_safetensors_are_read_as_well(tmp_path: Path) -> None:
    save_file({"a": torch.arange(3.0)}, tmp_path / "a.safetensors")
    assert torch.equal(read_published(tmp_path / "a.safetensors")["a"], torch.arange(3.0))
    (tmp_path / "b.safetensors").write_bytes(b"none")
    with pytest.raises(ValueError, match="cannot be read"):
        read_published(tmp_path / "b.safetensors")


def test_without_a_network_one_line_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no route")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", unreachable)
    error = fails(capsys, "import", "encodec", "--out", tmp_path / "part")
    assert "expected a network to fetch encodec_24khz-d7cc33bc.th" in error
    assert "--weights" in error


def test_a_proxy_that_never_answers_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musiclm.published.encodec.ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "/proc/none")  # as without a HOME: nothing is kept
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{silent.getsockname()[1]}")
        error = fails(capsys, "import", "encodec", "--out", tmp_path / "part")
    with warnings.catch_warnings():  # urllib leaves the socket of a proxy that never answers to the collector
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    assert "timed out" in error
    assert "--weights FILE" in error
    assert socket.getdefaulttimeout() is None
    assert not (tmp_path / "part").exists()


def test_what_is_fetched_is_what_a_file_would_give(
    published_encodec: Published, part: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetched(url: str, **words: object) -> dict:
        asked.append((url.rsplit("/", 1)[1], words["check_hash"], words["weights_only"]))
        return published_encodec[1].state_dict()

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetched)
    main(["import", "encodec", "--out", str(tmp_path / "part")])
    assert asked == [("encodec_24khz-d7cc33bc.th", True, True)]
    assert Bundle(tmp_path / "part").fingerprint() == Bundle(part).fingerprint()


def test_stages_of_another_codec_are_refused_or_left_out(
    part: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bundle", "pack", "default", str(part), "--out", str(tmp_path / "tokenizers")]
    assert "--stages false" in fails(capsys, *words)
    main([*words, "--stages", "false"])
    bundle = Bundle(tmp_path / "tokenizers")
    assert set(bundle.components) == {
        "codec", "semantic_encoder", "semantic_quantizer", "joint_embedding", "joint_quantizer",
        "melody_embedding", "melody_quantizer", "score_listener",
    }  # fmt: skip
    assert isinstance(bundle.load("codec"), EnCodec)


ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_stages_train_on_it_and_make_music_by_another_path_alone(part: Path, tmp_path: Path) -> None:
    import soundfile

    music, tokens, tokenizers = folder_of_tones(tmp_path / "music", 1), tmp_path / "tokens", tmp_path / "t"
    main(["bundle", "pack", "default", str(part), "--stages", "false", "--out", str(tokenizers)])
    words = ["--bundle", str(tokenizers), "--out", str(tokens), "--workers", "1"]
    main(["tokenize", str(music), *words])
    store = TokenStore(tokens)
    assert (store.description["acoustic"].rate, store.description["acoustic"].levels) == (75.0, 8)
    assert store[0].acoustic.shape == (8, 150)

    for name in ("coarse", "fine"):
        configs = [
            word for layer in ("", "tiny/") for word in ("--config", f"{ROOT}/configs/{layer}{name}.yaml")
        ]
        root = ["--trainer.default_root_dir", str(tmp_path / name), "--data.init_args.clear_of_end", "0"]
        main(["fit", *configs, "--data.init_args.tokens", str(tokens), *root])
    coarse, fine = (load_component(tmp_path / name / "part").layout for name in ("coarse", "fine"))
    assert coarse.target.frame_rate == fine.target.frame_rate == 75.0
    ratios = {segment.name: coarse.ratio(segment) for segment in coarse.aligned}
    assert ratios.pop("melody") == 225  # frames to a token
    assert ratios == dict.fromkeys(("semantic", "beat", "key", "chord", "drums"), 3)
    assert coarse.target.levels + fine.target.levels == 8

    parts = [str(part), *(str(tmp_path / name / "part") for name in ("coarse", "fine"))]
    main(["bundle", "pack", "default", *parts, "--out", str(tmp_path / "bundle")])
    out = tmp_path / "out.wav"
    main(["generate", "a tone", "--seconds", "1", "--bundle", str(tmp_path / "bundle"), "--out", str(out)])
    assert soundfile.info(out).frames == 24_000
