"""How fast sound becomes tokens and codes become sound again, as ratios to real time.

    python -m benchmarks.tokenizers --quick     20 s of music instead of 60, the default model only
    python -m benchmarks.tokenizers --check     every bar with its figure; exits 1 where one falls short

The tokenizers of the default model, beside SoundStream with the paper's trunk (`configs/paper/`, untrained:
its speed is the same). The music is chords of decaying harmonics over noise on the beat, made here: no
tokenizer's work depends on what it hears. Streaming is one stream fed with chunks of `CHUNK_SECONDS`, and a
`real_time` of 20 means that a second of music takes 50 ms.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.command import begin
from benchmarks.hardware import describe, usual_time
from benchmarks.report import Bar, judge, say, table
from musiclm.bundle import Bundle
from musiclm.tokenizers.seanet import SEANetDecoder, SEANetEncoder
from musiclm.tokenizers.soundstream import SoundStream
from musiclm.tokenizers.w2v_bert import W2VBertTokens

SECONDS, QUICK_SECONDS = 60.0, 20.0  # above 10 s MuLan's windows overlap: each second is seen ten times
PAPER_SECONDS = 10.0  # for the paper's trunk, the slowest
CHUNK_SECONDS = 0.1
MEASURE_SECONDS = 5.0  # for each case, once it has run
CPU = torch.device("cpu")  # where recordings are tokenized


def main() -> None:
    options, _ = begin(
        "benchmarks.tokenizers", __doc__.splitlines()[0], quick="shorter music", beside_peers=False
    )
    say({"machine": describe(CPU), "threads": torch.get_num_threads()})
    seconds = QUICK_SECONDS if options.quick else SECONDS
    bundle = Bundle.find("default")
    codec = bundle.load("codec")
    cases = [say(case) for case in measure(bundle, codec, music(seconds, codec.sample_rate))]
    if not options.quick:
        waveform = music(PAPER_SECONDS, codec.sample_rate)
        cases += [say(case) for case in codec_cases("SoundStream, paper", paper_codec(), waveform)]
    print()
    print(compare(cases))
    if options.check:
        print()
        judge(bars(cases))


def music(seconds: float, sample_rate: int) -> Tensor:
    """A waveform [1, 1, L]: a new chord each half second, harmonics that decay, a noise on every beat."""
    beat = sample_rate // 2
    time = torch.arange(beat) / sample_rate  # [beat]
    decay = torch.exp(-6.0 * time)
    harmonics = torch.arange(1, 9)[:, None]
    beats = []
    for index in range(math.ceil(2 * seconds)):
        sound = 0.3 * torch.randn(beat) * torch.exp(-60.0 * time)
        for interval in (0, 4, 7):
            pitch = 110.0 * 2 ** ((5 * index % 12 + interval) / 12)  # Hz
            sound += (torch.sin(2 * math.pi * pitch * harmonics * time) / harmonics).sum(dim=0) * decay
        beats.append(sound / sound.abs().max())
    return torch.cat(beats)[None, None, : round(seconds * sample_rate)]


def paper_codec() -> SoundStream:
    """SoundStream at the size of configs/paper/soundstream.yaml."""
    dimension = 256
    codec = SoundStream(
        SEANetEncoder(dimension, width=32), SEANetDecoder(dimension, width=32), dimension=dimension
    )
    codec.quantizer.codebooks.normal_()
    return codec.eval()


def measure(bundle: Bundle, codec: SoundStream, waveform: Tensor) -> Iterator[dict[str, Any]]:
    """What `musiclm tokenize` does with a recording [1, 1, L], and the codec's way back."""
    semantic = W2VBertTokens(bundle.load("semantic_encoder"), bundle.load("semantic_quantizer"))
    mulan = bundle.load("joint_embedding")
    rate = codec.sample_rate
    yield from codec_cases("SoundStream", codec, waveform)
    yield timed("w2v-BERT, k-means", "encode", lambda: semantic.encode(waveform), waveform, rate)
    yield timed("MuLan", "encode", lambda: mulan.embed_windows(waveform), waveform, rate)


def codec_cases(name: str, codec: SoundStream, waveform: Tensor) -> Iterator[dict[str, Any]]:
    """Encoding and decoding [1, 1, L], at once and chunk by chunk."""
    codes = codec.encode(waveform)  # [1, Q, T]
    rate = codec.sample_rate
    chunk = round(CHUNK_SECONDS * rate)
    frames = round(CHUNK_SECONDS * codec.frame_rate)

    def stream_encode() -> None:
        with codec.streaming() as stream:
            for part in waveform.split(chunk, dim=-1):
                stream.encode(part)
            stream.encode(waveform[..., :0], last=True)

    def stream_decode() -> None:
        with codec.streaming() as stream:
            for part in codes.split(frames, dim=-1):
                stream.decode(part)
            stream.decode(codes[..., :0], last=True)

    with codec.streaming() as stream:
        waits = {"encode": stream.encode_latency, "decode": stream.decode_latency}
    bits = {"bits_per_second": codec.bitrate}
    yield timed(name, "encode", lambda: codec.encode(waveform), waveform, rate) | bits
    yield timed(name, "decode", lambda: codec.decode(codes), waveform, rate) | bits
    for work, run in (("encode", stream_encode), ("decode", stream_decode)):
        case = timed(name, f"streamed {work}", run, waveform, rate)
        yield case | bits | {"chunk_seconds": CHUNK_SECONDS, "latency_seconds": waits[work]}


def timed(
    name: str, work: str, run: Callable[[], object], waveform: Tensor, sample_rate: int
) -> dict[str, Any]:
    """A case: how many seconds of the waveform `run` gets through in one."""
    seconds = waveform.shape[-1] / sample_rate
    taken = usual_time(run, CPU, seconds=MEASURE_SECONDS, settle=1)
    return {"name": name, "work": work, "audio_seconds": seconds, "real_time": seconds / taken}


def compare(cases: list[dict[str, Any]]) -> str:
    """A table of the ratios."""
    rows = [("", "", "x real time", "kbit/s", "latency")]
    for case in cases:
        bits, latency = case.get("bits_per_second"), case.get("latency_seconds")
        rows.append(
            (
                case["name"],
                case["work"],
                f"{case['real_time']:.1f}",
                "" if bits is None else f"{bits / 1000:g}",
                "" if latency is None else f"{latency:.2f} s",
            )
        )
    return table(rows)


def bars(cases: list[dict[str, Any]]) -> Iterator[Bar]:
    """What must hold on two cores."""
    for name in ("SoundStream", "w2v-BERT, k-means", "MuLan"):
        case = next(case for case in cases if case["name"] == name and case["work"] == "encode")
        yield Bar(f"{name}: encoding, times real time", case["real_time"], floor=20)


if __name__ == "__main__":
    main()
