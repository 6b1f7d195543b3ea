"""Promises of the table of a codec: known figures of a known codec, one line for what cannot be measured."""

import math
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor

from musiclm.audio import Audio
from musiclm.bundle import save_component
from musiclm.cli import main
from musiclm.data.sources import find_recordings
from musiclm.evaluate.codec import chart, format_table, measure, stretches
from musiclm.tokenizers.rvq import ResidualQuantizer
from tests.tiny import folder_of_tones, melody, tone

RATE = 24_000


class Steps:
    """Codes of single samples: each level adds 3 bits, 18.06 dB for a signal that is uniform in [-1, 1]."""

    sample_rate = RATE
    hop_length = 1
    num_quantizers = 3
    codebook_size = 8
    frame_rate = float(RATE)

    def __init__(self) -> None:
        middles = (torch.arange(8) + 0.5) / 4 - 1  # of eight steps from -1 to 1
        self.codebooks = torch.stack([middles / 8**level for level in range(3)])[..., None]  # [Q, K, 1]

    def encode(self, waveform: Tensor, *, num_quantizers: int | None = None) -> Tensor:
        residual, codes = waveform[:, 0], []  # [B, L]
        for codebook in self.codebooks:
            codes.append((residual[..., None] - codebook[:, 0]).abs().argmin(dim=-1))
            residual = residual - codebook[codes[-1], 0]
        return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor, *, prefix: Tensor | None = None) -> Tensor:
        return sum(self.codebooks[q][codes[:, q], 0] for q in range(codes.shape[1]))[:, None]


class Phaseless(Steps):
    """Decodes to noise unless it is told how the sound goes."""

    def decode(self, codes: Tensor, *, prefix: Tensor | None = None) -> Tensor:
        wrong = torch.rand(1, 1, codes.shape[2], generator=torch.Generator().manual_seed(1)) - 0.5
        return wrong if prefix is None else super().decode(codes)


def uniform(length: int = 24_000) -> Tensor:
    return 2 * torch.rand(1, 1, length, generator=torch.Generator().manual_seed(0)) - 1


def test_figures_of_a_known_codec_are_known() -> None:
    qualities = measure(Steps(), [uniform()])
    assert [each.levels for each in qualities] == [1, 2, 3]
    assert [each.kbps for each in qualities] == [72.0, 144.0, 216.0]
    for each in qualities:
        bits = 3 * each.levels
        assert each.si_sdr == pytest.approx(20 * bits * math.log10(2), abs=0.15)
        assert each.in_phase == each.si_sdr
        assert each.perplexity == pytest.approx(8.0, abs=0.01)
    distances = [each.mel_distance for each in qualities]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.01


def test_a_longer_waveform_weighs_more() -> None:
    loud, quiet = uniform(6000), 0.1 * uniform(18_000)
    alone = [measure(Steps(), [waveform])[0].si_sdr for waveform in (loud, quiet)]
    assert measure(Steps(), [loud, quiet])[0].si_sdr == pytest.approx(0.25 * alone[0] + 0.75 * alone[1])


def test_codes_without_phase_are_also_judged_with_the_recordings_own() -> None:
    qualities = measure(Phaseless(), [uniform()])
    assert all(each.si_sdr < -10 for each in qualities)
    assert qualities[2].in_phase == pytest.approx(54.2, abs=0.15)
    said, explained = format_table(qualities).splitlines()[-2:]
    assert said.endswith("up to: SI-SDR 1, SI-SDR in phase 3, mel distance 1")
    assert "invents phases" in explained


def test_a_recording_is_cut_into_equal_stretches_without_silence(tmp_path: Path) -> None:
    melody(2.5, seed=0).save(tmp_path / "tune.wav")
    half = torch.cat([tone(1.0).waveform, torch.zeros(1, RATE)], dim=1)
    Audio(half, RATE).save(tmp_path / "half.wav")
    tone(0.05).save(tmp_path / "click.wav")
    found = [waveform.shape for waveform in stretches(find_recordings(tmp_path), 1.0, RATE)]
    assert found == [(1, 1, RATE), *[(1, 1, 20_000)] * 3]


def test_the_chart_has_a_mark_for_every_level() -> None:
    root = ElementTree.fromstring(chart(measure(Steps(), [uniform(6000)])))
    dots = [node.get("d") for node in root.iter() if node.get("class") == "dots"]
    assert len(dots) == 4
    assert all(path.count("M") == 3 for path in dots)


def test_the_command_prints_a_line_for_every_level_and_where_the_chart_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    music, out = folder_of_tones(tmp_path / "music", 1, seconds=0.5), tmp_path / "made" / "report"
    main(["evaluate", "codec", "--audio", str(music), "--out", str(out)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:13]] == [str(level) for level in range(1, 13)]
    assert lines[12].split()[1] == "6.00"
    assert lines[-1] == str(out / "codec.svg")
    assert ElementTree.parse(out / "codec.svg").getroot().tag.endswith("svg")


def test_what_cannot_be_measured_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = {"dimension": 4, "num_quantizers": 2, "codebook_size": 8}
    save_component(
        tmp_path / "part", "joint_quantizer", ResidualQuantizer(**words),
        class_path="musiclm.tokenizers.rvq.ResidualQuantizer", init_args=words, storage="float32",
    )  # fmt: skip
    (tmp_path / "empty").mkdir()
    (tmp_path / "silent").mkdir()
    Audio(torch.zeros(1, RATE), RATE).save(tmp_path / "silent" / "a.wav")
    music = folder_of_tones(tmp_path / "music", 1, seconds=0.2)
    (tmp_path / "file").touch()
    for mistake, said in [
        (["--audio", tmp_path / "nowhere"], "found nothing"),
        (["--audio", tmp_path / "empty"], "expected audio"),
        (["--audio", tmp_path / "silent"], "all are silent"),
        (["--audio", music, "--codec", tmp_path / "part"], "with the component codec"),
        (["--audio", music, "--codec", "no-such"], "no-such"),
        (["--audio", music, "--seconds", "0"], "0.1 seconds or more"),
        (["--audio", music, "--out", tmp_path / "file"], "is a file"),
    ]:
        where = [] if "--out" in mistake else ["--out", tmp_path / "report"]
        with pytest.raises(SystemExit) as stop:
            main(["evaluate", "codec", *[str(word) for word in (*mistake, *where)]])
        error = capsys.readouterr().err.splitlines()[-1]
        assert stop.value.code == 2
        assert said in error
        assert not (tmp_path / "report").exists()


def test_recordings_that_cannot_be_read_are_left_out_and_the_others_are_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    music, out = folder_of_tones(tmp_path / "music", 1, seconds=0.2), tmp_path / "report"
    (music / "words.wav").write_text("no audio")
    words = ["evaluate", "codec", "--audio", str(music), "--out", str(out)]
    main(words)
    assert "1 recording, 1 left out: see" in capsys.readouterr().err
    assert (out / "left_out.tsv").read_text().count("words.wav") == 1
    with pytest.raises(SystemExit) as stop:
        main([*words, "--strict"])
    assert stop.value.code == 2
