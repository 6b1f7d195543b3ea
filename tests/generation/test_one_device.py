"""Every form of generation on a GPU that is not there: do all tensors meet on one device?

Under torch's `FakeTensorMode` a tensor has a shape, a type and a device, and no values; an operation checks
that its tensors are on one device, as CUDA does. So the whole pipeline runs on "cuda:0" on any machine. What
needs a driver or values is replaced, by as little as will do:

- Whatever touches a CUDA tensor first makes its device the current one, by a guard that asks the driver. Here
  the guard is that of the device `meta`, which does nothing. Torch's own fake mode does the same from 2.10 on
  (`torch._C._ensureCUDADeviceGuardSet`, pytorch/pytorch#163187); until then its pointer is put there.
- A value that Python reads (`if codes.min() < 0`) is 0, and whether *all* are something is true: that is what
  checks of ranges and of finite values hope for. Nothing else in the pipeline branches on values.
- numpy gets zeros, of tensors on the CPU alone.
- Generators for CUDA need a driver. A stand-in knows its device; `exponential_` and `randn` ask that it is
  the tensor's.
- No CUDA graph is captured: to capture runs the step once, and to replay it does nothing.
- fairseq2 pins the memory of what it moves to CUDA, which needs a driver; here it does not.
- Attention on CUDA chooses a kernel by the GPU's properties: it is told to take the plain one.
- Recordings are read and judged on the CPU by numpy, which reads values, before anything moves: `read_mono`,
  `check_sounding` and `check_pitched` let a fake recording through.
"""

import ctypes
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.nn.attention import SDPBackend, sdpa_kernel

from musiclm import Audio, MusicLM
from musiclm.audit.continuation import Subject, continuations
from musiclm.audit.examples import Examples
from musiclm.bundle import Bundle
from musiclm.data.sources import Recording
from musiclm.data.tokenize import Tokenizers
from musiclm.evaluate import codec as module_of_codec
from musiclm.generation import audio_prompt, melody_prompt, pipeline
from musiclm.metrics.fidelity import MelDistance
from musiclm.stages.cuda_graph import CudaGraphStep
from musiclm.tokenizers.fairseq2_models import BatchLayout
from musiclm.tokenizers.mulan import MuLan
from tests import tiny_model
from tests.tiny_model import OTHER, PROMPT, make_bundle

pytestmark = pytest.mark.slow

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
RATE = 24_000
CUDA_SLOT, META_SLOT, SLOTS = 1, 14, 20  # of c10::DeviceType


class Devices(FakeTensorMode):
    """Fake tensors, whose values are 0 where Python reads them."""

    avoid_device_init = not torch.cuda.is_available()  # else asked at every operation: a sixth of the time

    def dispatch(self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None) -> Any:
        aten = torch.ops.aten
        if func is aten._local_scalar_dense.default and args[0].constant is None:
            return False if args[0].dtype == torch.bool else 0
        result = super().dispatch(func, types, args, kwargs or {})  # type: ignore[arg-type]
        if func is aten.all.default:
            result.constant = torch.ones((), dtype=torch.bool)
        return result


class Generator:
    """A `torch.Generator` of which nothing is drawn."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)

    def manual_seed(self, seed: int) -> "Generator":
        return self


class Graph:
    """A `torch.cuda.CUDAGraph`, a stream, or a context of either."""

    def __init__(self, *_: Any) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: Any) -> None:
        pass

    def wait_stream(self, other: "Graph") -> None:
        pass

    def replay(self) -> None:
        pass


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Iterator[Devices]:
    """A fake mode in which CUDA is there."""
    for name in ("device", "Stream", "stream", "current_stream", "CUDAGraph", "graph"):
        monkeypatch.setattr(torch.cuda, name, Graph)
    monkeypatch.setattr(torch, "Generator", Generator)
    draw, normal = Tensor.exponential_, torch.randn

    def exponential_(waiting: Tensor, *, generator: Generator) -> Tensor:
        assert generator.device == waiting.device
        return draw(waiting)

    def randn(*shape: int, generator: Generator | None = None, **words: Any) -> Tensor:
        assert generator is None or generator.device == words["device"]
        return normal(*shape, **words)

    values_of = Tensor.numpy

    def numpy(tensor: Tensor) -> np.ndarray:
        if not isinstance(tensor, FakeTensor):
            return values_of(tensor)
        assert tensor.device == CPU
        return np.zeros(tensor.shape, str(tensor.dtype).removeprefix("torch."))

    monkeypatch.setattr(Tensor, "exponential_", exponential_)
    monkeypatch.setattr(torch, "randn", randn)
    monkeypatch.setattr(Tensor, "numpy", numpy)

    def no_values(data: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty(len(data), dtype=dtype, device=device)

    monkeypatch.setattr(pipeline, "choose_device", torch.device)
    monkeypatch.setattr(sys.modules[BatchLayout.__module__], "to_tensor", no_values)
    for module in (audio_prompt, melody_prompt):
        monkeypatch.setattr(module, "read_mono", lambda what, recording, rate: recording)
        monkeypatch.setattr(module, "check_sounding", lambda what, audio: None)
    monkeypatch.setattr(melody_prompt, "check_pitched", lambda audio: None)
    overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
    # `Module.to` writes values into a parameter; here a fake tensor of another device takes its place.
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    guards = _guards()
    before = None if guards is None else guards[CUDA_SLOT]
    mode = Devices(allow_non_fake_inputs=True)
    try:
        if guards is not None:
            guards[CUDA_SLOT] = guards[META_SLOT]
        with sdpa_kernel(SDPBackend.MATH), mode:
            yield mode
    finally:
        if guards is not None:
            guards[CUDA_SLOT] = before
        torch.__future__.set_overwrite_module_params_on_conversion(overwrites)


def _guards() -> Any:
    """Torch's table of device guards, where it is needed: without CUDA, before torch 2.10."""
    if torch.cuda.is_available() or hasattr(torch._C, "_ensureCUDADeviceGuardSet"):
        return None
    path = next((Path(torch.__file__).parent / "lib").glob("libc10.*"))
    kind = ctypes.c_void_p * SLOTS
    return kind.in_dll(ctypes.CDLL(str(path)), "_ZN3c104impl26device_guard_impl_registryE")


# Fake operations are slow: windows are a quarter as long as a tiny model's, and slide as often in a quarter
# of the music. Those of melodies are hardly longer than a melody's hop.
SHORT: dict[str, dict[str, dict[str, Any]]] = {
    "SETTINGS": {
        "semantic_stage": {"window": 0.48, "stride": 0.24, "guidance": 2.0},
        "coarse_stage": {"window": 0.48, "carry": 0.2},
        "fine_stage": {"window": 0.16},
        "codec": {"context": 4},
    },
    "DIFFUSION_SETTINGS": {
        "denoiser": {"window": 0.48, "carry": 0.2, "steps": 3, "guidance_by": {"mulan": 2.0}},
        "autoencoder": {"context": 4},
    },
    "MELODY_SETTINGS": {
        "semantic_stage": {"window": 3.4, "stride": 3.0, "guidance": 2.0},
        "coarse_stage": {"window": 3.4, "carry": 0.4},
    },
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    with pytest.MonkeyPatch.context() as patch:
        for name, settings in SHORT.items():
            patch.setattr(tiny_model, name, settings)
        yield {
            "plain": make_bundle(tmp_path_factory.mktemp("plain")),
            "melody": make_bundle(tmp_path_factory.mktemp("melody"), melody=True),
            "diffusion": make_bundle(tmp_path_factory.mktemp("diffusion"), diffusion=True),
        }


def without_values(part: nn.Module, mode: Devices) -> nn.Module:
    """A component as it is loaded, on the CPU, with fake tensors."""
    for module in part.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                fake = mode.from_tensor(parameter.detach())
                module._parameters[name] = nn.Parameter(fake, requires_grad=False)
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else mode.from_tensor(buffer)
    return part


@pytest.fixture
def bundles(devices: Devices, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> dict[str, Bundle]:
    """Bundles that load components without values."""
    load = Bundle.load

    def load_without_values(bundle: Bundle, role: str) -> nn.Module:
        with unset_fake_temporarily():
            part = load(bundle, role)
            if isinstance(part, MuLan):
                assert part.text.processor  # its vocabulary is read while it has values
        return without_values(part, devices)

    monkeypatch.setattr(Bundle, "load", load_without_values)
    return {name: Bundle(folder) for name, folder in folders.items()}


@pytest.fixture
def model(bundles: dict[str, Bundle], request: pytest.FixtureRequest) -> MusicLM:
    made = MusicLM.from_bundle(bundles[getattr(request, "param", "plain")], device="cuda:0")
    assert made.device == CUDA
    return made


both = pytest.mark.parametrize("model", ["plain", "diffusion"], indirect=True)


def recording(seconds: float) -> Audio:
    return Audio(torch.zeros(1, round(seconds * RATE)), RATE)


def check(samples: list[Audio], *, num: int, seconds: float) -> None:
    """Results are on the CPU, and as long as was asked for."""
    assert len(samples) == num
    for sample in samples:
        assert sample.waveform.device == CPU
        assert sample.waveform.shape == (1, round(seconds * RATE))


@both
def test_text_becomes_music_on_one_device(model: MusicLM) -> None:
    assert isinstance(model.semantic_stage.transformer.fused_step, CudaGraphStep)
    heard: list[torch.device] = []
    made = model.generate(PROMPT, seconds=0.64, on_semantic=lambda tokens: heard.append(tokens.device))
    check([made], num=1, seconds=0.64)
    assert set(heard) == {CPU}


@both
def test_a_stream_comes_from_one_device_to_the_cpu(model: MusicLM) -> None:
    blocks = list(model.stream("", seconds=0.4, continue_=recording(1.0)))
    assert {block.device for block in blocks} == {CPU}


@both
def test_a_story_is_made_on_one_device(model: MusicLM) -> None:
    made = model.story([(0.0, PROMPT), (1.0, OTHER)], seconds=1.3, blend=0.5)
    check([made], num=1, seconds=1.3)


@both
@pytest.mark.parametrize("keep", [None, "semantic"])
def test_several_samples_are_made_on_one_device(model: MusicLM, keep: Any) -> None:
    check(model.variations(PROMPT, num=2, seconds=0.6, keep=keep), num=2, seconds=0.6)


@both
def test_a_recording_is_gone_on_from_on_one_device(model: MusicLM) -> None:
    made = model.generate(PROMPT, seconds=0.4, continue_=recording(1.0))
    check([made], num=1, seconds=1.4)


@pytest.mark.parametrize("model", ["melody"], indirect=True)
def test_a_melody_is_followed_on_one_device(model: MusicLM) -> None:
    check([model.generate(PROMPT, seconds=3.6, melody=recording(4.0))], num=1, seconds=3.6)


@both
def test_given_tokens_are_rendered_on_one_device(model: MusicLM) -> None:
    semantic, joint = torch.zeros(1, 1, 25, dtype=torch.int64), torch.zeros(1, 2, 1, dtype=torch.int64)
    check([model.render(semantic, joint)], num=1, seconds=1.0)


def test_tokens_of_a_recording_are_made_on_one_device(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizers = Tokenizers.load(bundles["melody"], "cuda:0")
    monkeypatch.setattr(Audio, "load_mono", lambda path, rate, warn: recording(3.0))
    row = tokenizers.tokenize(Recording("a", Path("a.wav"), 3.0, "CC0-1.0", "train"))
    assert row.semantic.shape == (75,)
    assert row.acoustic.shape == (3, 150)
    assert row.streams["mulan"].shape == (3, 8)
    assert row.streams["melody"].shape == (3, 8)


def test_a_codec_is_measured_on_one_device(
    bundles: dict[str, Bundle], devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unset_fake_temporarily():  # bands without a bin are left out: that is asked of values
        distance = MelDistance(RATE)
    monkeypatch.setattr(module_of_codec, "MelDistance", lambda *_, **__: without_values(distance, devices))
    monkeypatch.setattr(
        torch, "bincount", lambda codes, *, minlength: torch.zeros(minlength, device=codes.device)
    )
    codec = bundles["plain"].load("codec").to(CUDA)
    assert len(module_of_codec.measure(codec, [recording(1.0).waveform[None]])) == 3


def test_the_audit_continues_on_one_device(model: MusicLM, tmp_path: Path) -> None:
    joint, semantic = torch.zeros(3, 2, 1, dtype=torch.int64), torch.zeros(3, 150, dtype=torch.int64)
    subject = Subject("training", [], Examples(*(np.arange(3) for _ in range(4))), joint, semantic)
    made = continuations(
        model.semantic_stage,
        subject,
        prompt_tokens=25,
        temperature=1.0,
        seed=0,
        folder=tmp_path,
        on_rows=lambda rows: None,
    )
    assert made.shape == (3, 125)


def test_a_tensor_left_on_the_cpu_is_seen(devices: Devices) -> None:
    with pytest.raises(RuntimeError, match="two different devices"):
        torch.ones(2, device=CUDA) + torch.ones(2)
