"""The whole chain on tiny configurations: render → fit tokenizers → tokenize → fit stages → pack → generate.

A broken recipe is a red test. It is `make default-model`'s script that makes the chain, killed once and
started again; every command here is the command a user types.
"""

import json
import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from musiclm import Audio, MusicLM
from musiclm.bundle import Bundle
from musiclm.cli import main
from musiclm.data.store import TokenStore, shard_path, write_shard
from musiclm.generation.block_decoding import BlockDecoder
from musiclm.tokenizers.convnext import Spectrum

ROOT = Path(__file__).parent.parent
PROMPT = "a calm violin melody over soft piano chords"
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warm_workers")]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, warm: Path) -> tuple[Path, int, dict[Path, int]]:
    """`make default-model` on tiny configurations, killed as it trains: its exit code, its parts' dates."""
    root = tmp_path_factory.mktemp("chain")
    run = start(root, warm)
    wait_until(lambda: (root / "kmeans.log").exists() or run.poll() is not None)
    assert run.poll() is None, (root / "log").read_text()
    os.killpg(run.pid, signal.SIGTERM)
    code = run.wait(timeout=60)
    wait_until(lambda: is_gone(run.pid))
    assert not (root / "bundle").exists()
    return root, code, {path: path.stat().st_mtime_ns for path in root.glob("*/part/*.safetensors")}


@pytest.fixture(scope="module")
def chain(killed: tuple[Path, int, dict[Path, int]], warm: Path) -> Path:
    """The folder in which the same command, started again, has trained everything for a few steps."""
    root, _, _ = killed
    assert start(root, warm).wait(timeout=600) == 0, (root / "log").read_text()
    return root


def start(root: Path, warm: Path) -> subprocess.Popen[bytes]:
    settings = {"RUNS": root, "OUT_BUNDLE": root / "bundle", "SIZE": "configs/tiny", "BIN": warm}
    settings |= {"HOURS": "0.02", "MELODY_HOURS": "0.02", "LABEL_HOURS": "0.1"}
    environment = os.environ | {name: str(value) for name, value in settings.items()}
    words = ["sh", str(ROOT / "scripts" / "default_model.sh")]
    with (root / "log").open("a") as log:
        return subprocess.Popen(
            words, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_gone(group: int) -> bool:
    """Whether the last process of a group has ended: until then its folder is taken."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_the_script_can_be_killed_and_makes_nothing_twice(
    killed: tuple[Path, int, dict[Path, int]], chain: Path
) -> None:
    _, code, kept = killed
    assert code != 0
    assert {path.parent.parent.name for path in kept} >= {"soundstream", "w2v_bert"}
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_every_part_is_trained_and_kept(chain: Path) -> None:
    bundle = Bundle(chain / "bundle")
    assert set(bundle.components) == {
        "codec", "semantic_encoder", "semantic_quantizer", "joint_embedding", "joint_quantizer",
        "melody_embedding", "melody_quantizer", "semantic_stage", "coarse_stage", "fine_stage",
        "autoencoder", "denoiser", "score_listener", "planner",
    }  # fmt: skip
    runs = (
        "soundstream", "low_band", "w2v_bert", "kmeans", "mulan", "mulan_rvq", "melody", "melody_rvq",
        "semantic", "coarse", "fine", "latents", "denoiser", "score_listener", "planner",
    )  # fmt: skip
    assert all((chain / name / "last.ckpt").is_file() for name in runs)


def test_the_store_holds_every_recording_on_both_clocks(chain: Path) -> None:
    store = TokenStore(chain / "tokens")
    assert len(store) == len(list((chain / "corpus" / "audio").glob("*.flac")))
    for row in store:
        assert abs(len(row.semantic) - row.seconds * 25) <= 1
        assert abs(row.acoustic.shape[1] - row.seconds * 50) <= 1
        assert row.captions
    role = "joint_embedding"
    assert store.description.fingerprints[role] == Bundle(chain / "bundle").fingerprint(role)


@pytest.fixture(scope="module")
def model(chain: Path) -> MusicLM:
    return MusicLM.from_pretrained(chain / "bundle")


@pytest.mark.parametrize("seconds", [0.03, 1.0, 3.7, 12.3])
def test_music_has_the_right_length_to_the_sample(model: MusicLM, seconds: float) -> None:
    audio = model.generate(PROMPT, seconds=seconds)
    assert audio.waveform.shape == (1, round(seconds * 24_000))
    assert audio.waveform.abs().max() <= 1.0
    assert audio.waveform.isfinite().all()


def test_the_same_seed_gives_the_same_music_and_another_gives_other(model: MusicLM) -> None:
    once, again, other = (model.generate(PROMPT, seconds=2.0, seed=seed).waveform for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_a_stream_is_what_generate_returns(model: MusicLM) -> None:
    blocks = list(model.stream(PROMPT, seconds=12.0, seed=3))
    assert len(blocks) > 1
    assert torch.equal(torch.cat(blocks, dim=1), model.generate(PROMPT, seconds=12.0, seed=3).waveform)


class Chord:
    """A codec that decodes any codes to one chord, known by its magnitudes alone."""

    hop_length = 480

    def __init__(self) -> None:
        time = torch.arange(100 * 480) / 24_000
        partials = [0.2 * torch.sin(math.tau * f * time) for f in (220.0, 277.2, 331.0, 1502.7)]
        self.spectrum = Spectrum(1920, 480)
        self.magnitude = self.spectrum(torch.stack(partials).sum(dim=0)[None, None])[:, 50:51].abs()

    def decode(self, codes: Tensor, *, prefix: Tensor | None = None) -> Tensor:
        return self.spectrum.sound(self.magnitude.expand(1, codes.shape[2], -1), prefix)


def test_no_seam_is_heard_between_blocks() -> None:
    decoder = BlockDecoder(Chord(), context=32)
    lengths = (90, 7, 110, 93)
    blocks = [decoder(torch.zeros(1, 12, n), last=number == 3) for number, n in enumerate(lengths)]
    sound = torch.cat(blocks, dim=2)[0, 0]
    assert len(sound) == sum(lengths) * 480
    inner = sound[4 * 480 : -4 * 480]
    partials = torch.stft(
        inner, 1920, 240, center=False, window=torch.hann_window(1920), return_complex=True
    ).abs()
    off_key = partials[[40, 70, 90], :]  # 500, 875, 1125 Hz: far from every partial, where a click shows
    assert off_key.max() < 0.01 * partials.max()
    loudness = inner.unfold(0, 2400, 240).square().mean(dim=1)
    assert 10 * math.log10(loudness.max() / loudness.min()) < 2


def test_progress_names_the_stages_in_order_and_reaches_the_end(model: MusicLM) -> None:
    calls: list[tuple[str, int, int]] = []
    model.generate(PROMPT, seconds=2.0, on_progress=lambda *call: calls.append(call))
    assert list(dict.fromkeys(stage for stage, _, _ in calls)) == ["semantic", "denoise"]
    last = {stage: (done, total) for stage, done, total in calls}
    assert all(done == total for done, total in last.values())


def test_the_command_leaves_one_file_that_says_how_it_was_made(
    chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import soundfile

    out = tmp_path / "violin.wav"
    bundle = str(chain / "bundle")
    main(["generate", PROMPT, "--seconds", "1.5", "--seed", "7", "--bundle", bundle, "--out", str(out)])
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    assert list(tmp_path.iterdir()) == [out]
    with soundfile.SoundFile(out) as file:
        assert (file.samplerate, file.channels, file.frames) == (24_000, 1, 36_000)
        assert file.title == PROMPT
        assert "seed 7" in file.comment
        assert Bundle(chain / "bundle").fingerprint() in file.comment


def test_the_command_and_the_api_make_the_same_music(chain: Path, model: MusicLM, tmp_path: Path) -> None:
    out = tmp_path / "a.wav"
    main(["generate", PROMPT, "--seconds", "1", "--bundle", str(chain / "bundle"), "--out", str(out)])
    made = model.generate(PROMPT, seconds=1.0).waveform
    torch.testing.assert_close(Audio.load(out).waveform, made, atol=2 / 2**15, rtol=0)


@pytest.mark.parametrize(
    "damage", [lambda file: file.unlink(), lambda file: file.write_bytes(file.read_bytes()[:99])]
)
def test_a_damaged_bundle_is_refused_and_nothing_is_written(
    chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None]
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(chain / "bundle", bundle)
    damage(bundle / "denoiser.safetensors")
    out = tmp_path / "out.wav"
    with pytest.raises(SystemExit) as stop:
        main(["generate", PROMPT, "--bundle", str(bundle), "--out", str(out)])
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert "denoiser" in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_tokenizing_again_makes_only_what_is_missing_and_drops_what_is_not_wanted(
    chain: Path, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    words = ["tokenize", str(chain / "corpus"), "--bundle", str(chain / "tokenizers"), "--out", str(tokens)]
    words += ["--workers", "1", "--shard_size", "1"]
    main(words)
    missing, *kept = sorted(tokens.glob("tokens-*.arrow"))
    assert len(kept) == 2
    content, made = missing.read_bytes(), [shard.stat().st_mtime_ns for shard in kept]
    missing.rename(tokens / "tokens-00007.arrow")  # as a run with other shards would have left it
    main(words)
    assert missing.read_bytes() == content
    assert [shard.stat().st_mtime_ns for shard in kept] == made
    assert sorted(tokens.glob("tokens-*.arrow")) == [missing, *kept]


@pytest.mark.parametrize("mistake", [["--shard_size", "0"], ["--shard_size", "-1"], ["--workers", "-1"]])
def test_shards_of_no_recordings_are_refused_and_nothing_is_lost(
    chain: Path, mistake: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.name for path in (chain / "tokens").iterdir())
    words = ["--bundle", str(chain / "tokenizers"), "--out", str(chain / "tokens"), *mistake]
    with pytest.raises(SystemExit) as stop:
        main(["tokenize", str(chain / "corpus"), *words])
    assert stop.value.code == 2
    assert "expected a shard_size of 1 or more" in capsys.readouterr().err
    assert sorted(path.name for path in (chain / "tokens").iterdir()) == before


def test_tokens_of_other_tokenizers_are_refused(
    chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = tmp_path / "tokens"
    shutil.copytree(chain / "tokens", tokens)
    words = (tokens / "store.yaml").read_text()
    (tokens / "store.yaml").write_text(words.replace("joint_quantizer: ", "joint_quantizer: x"))
    with pytest.raises(SystemExit) as stop:
        main(["tokenize", str(chain / "corpus"), "--bundle", str(chain / "tokenizers"), "--out", str(tokens)])
    assert stop.value.code == 2
    assert "made by the same tokenizers" in capsys.readouterr().err


@pytest.fixture(scope="module")
def variants(chain: Path) -> Path:
    """A token store of ten recordings, two held out: one of the chain's, its tokens in other orders."""
    source, folder = TokenStore(chain / "tokens"), chain / "variants"
    row, random = source[0], np.random.default_rng(0)
    others = [
        replace(
            row,
            id=f"variant {turn}",
            streams=row.streams | {"semantic": random.permutation(row.semantic)[None]},
            split="train" if turn < 8 else "valid",
        )
        for turn in range(10)
    ]
    shutil.copytree(chain / "tokens", folder)
    for shard in folder.glob("tokens-*.arrow"):
        shard.unlink()
    write_shard(shard_path(folder, 0), others)
    return folder


def test_an_audit_of_a_whole_model_can_be_listened_to(chain: Path, variants: Path, tmp_path: Path) -> None:
    few = [
        "--examples",
        "8",
        "--prompt_tokens",
        "[0,25]",
        "--negatives",
        "20",
        "--false_positive_rate",
        "0.3",
    ]
    where = ["--tokens", str(variants), "--bundle", str(chain / "bundle"), "--out", str(tmp_path / "report")]
    main(["audit", *where, *few])
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["audio"]["pairs"] == len(report["closest"]) > 0
    assert all(-1 <= pair["mulan_cosine"] <= 1 for pair in report["closest"])
    assert [each["set"] for each in report["rendered"]["sets"]] == ["training", "held-out"]
    assert report["rendered"]["low"] <= report["rendered"]["nearer"] <= report["rendered"]["high"]
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("<audio") == 2 * len(report["closest"])


def test_the_guard_leaves_its_verdict_in_the_file(chain: Path, variants: Path, tmp_path: Path) -> None:
    import soundfile

    out = tmp_path / "guarded.wav"
    words = ["--bundle", str(chain / "bundle"), "--seconds", "5", "--out", str(out), "--guard", str(variants)]
    main(["generate", PROMPT, *words, "--guard_action", "label"])
    assert "to variant" in soundfile.SoundFile(out).comment
    assert (variants / "search" / "threshold.json").is_file()
