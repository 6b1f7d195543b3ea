"""What may be asked of a model, checked before anything is loaded or made."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypedDict, get_args

from torch import Tensor

from musiclm.audio import Audio, check_waveform, seconds_of
from musiclm.audio.checks import SILENT as SILENT_RECORDING
from musiclm.notices import RecordingNotice
from musiclm.score.controls import Controls
from musiclm.score.plan import Plan
from musiclm.score.score import PARTS, Score

MAX_SECONDS = 600.0
MAX_PROMPT = 2_000  # characters; more is no description, but a file pasted by mistake
MAX_SAMPLES = 16
DEFAULT_SECONDS = 10.0
LAST_SECTION_SECONDS = 15.0  # of a story whose length is not given: a window's stride (MusicLM, sec. 4.2)
SHORTEST_SECTION = 1.0  # seconds
MELODY_SECONDS = (1.0, 60.0)
CONTINUE_SECONDS = (1.0, 600.0)
SHORTEST_REGION = 0.5  # seconds, of a region that is made anew, and of what stays between two
LEAST_KEPT = 1.0  # seconds of a recording that is inpainted
INPAINT_SECONDS = (SHORTEST_REGION + LEAST_KEPT, 600.0)
FOLLOW_SECONDS = (5.0, 600.0)  # shorter music has no tempo that can be told
SILENT = 10 ** (-60 / 20)  # of full scale: a recording whose loudest sample is below holds nothing to follow

# A description, or several with the second that each begins at: MusicLM's story mode.
Prompt = str | list[tuple[float, str]] | tuple[tuple[float, str], ...]
Keep = Literal["semantic"]
GuardAction = Literal["refuse", "regenerate", "label"]  # what a guard does with music that does not pass
AudioInput = Audio | Path | str  # a recording: as samples, or as a file


@dataclass(frozen=True)
class Guarding:
    """How music is guarded against being a copy.

    Args:
        tokens: the stores of the training music.
        action: what becomes of music that does not pass.
        tries: seeds in all for each sample, where it is made again.

    Raises:
        ValueError: there would be no try.
    """

    tokens: Sequence[Path]
    action: GuardAction = "refuse"
    tries: int = 3

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise ValueError(f"expected guard_tries of 1 or more, got {self.tries}")


@dataclass(frozen=True)
class Request:
    """Music as it was asked for.

    Args:
        prompt: words, or the sections of a story; may be empty where there is a recording to go on from.
        seconds: of new music; None for as long as the melody or what is followed is, or 15 s beyond where a
            story's last section begins, else 10.
        seed: of the first sample; the n-th has seed + n - 1.
        num: samples.
        keep: `semantic` lets all samples share the first one's semantic tokens.
        blend: seconds over which a story goes over from one section to the next; 0 switches.
        melody: a recording whose melody is to be followed.
        continue_: a recording to go on from.
        controls: values that the music is to have; of a story, one for all sections or one for each.
        plan: of the music, in bars; it counts more than what the words say.
        follow: a recording whose beats, keys, chords and drums are followed, or a score.
        only: the parts of them that are followed; all by default.
        codes: of other conditions that the stages follow, [1, levels, T] by stream.
        like: a recording that the music is to be like (MeLoDy's music prompt, 2305.15719): its joint
            embedding stands in the place of the words', or halfway beside it where there are some.
        inpaint: a recording of which regions are made anew; `only` names the parts of its own score that are
            kept in them.
        regions: where they begin and end, in seconds of that recording, in order.

    Raises:
        ValueError, FileNotFoundError: one line, for what cannot be made.
    """

    prompt: Prompt
    seconds: float | None = None
    seed: int = 0
    num: int = 1
    keep: Keep | None = None
    blend: float = 0.0
    melody: AudioInput | None = None
    continue_: AudioInput | None = None
    controls: Controls | Sequence[Controls] = field(default_factory=Controls)
    plan: Plan | None = None
    follow: AudioInput | Score | None = None
    only: Sequence[str] = PARTS
    codes: Mapping[str, Tensor] = field(default_factory=dict)
    like: AudioInput | None = None
    inpaint: AudioInput | None = None
    regions: Sequence[tuple[float, float]] = ()

    def __post_init__(self) -> None:
        if isinstance(self.prompt, list | tuple):
            check_sections(self.prompt)
        elif self.prompt != "" or (self.continue_ is None and self.inpaint is None and self.like is None):
            check_prompt(self.prompt)
        self._check_inpainting()
        if not 1 <= self.num <= MAX_SAMPLES:
            raise ValueError(f"expected 1 to {MAX_SAMPLES} samples, got {self.num}")
        if self.keep not in (None, *get_args(Keep)):
            raise ValueError(f"expected to keep semantic or nothing, got {self.keep!r}")
        if self.keep is not None and self.num == 1:
            raise ValueError(f"expected samples that share what is kept ({self.keep}), got one: ask for more")
        check_seed(self.seed)
        check_seed(self.seed + self.num - 1)
        if not 0 <= self.blend <= MAX_SECONDS:
            raise ValueError(f"expected a blend of 0 to {MAX_SECONDS:g} s, got {self.blend:g}")
        if self.melody is not None and self.continue_ is not None:
            raise ValueError("expected a melody to follow or a recording to continue, got both: give one")
        if self.melody is not None:
            _check_length("melody", self.melody, *MELODY_SECONDS)
        if self.continue_ is not None:
            _check_length("recording to continue", self.continue_, *CONTINUE_SECONDS)
        if self.like is not None:
            _check_length("recording to be like", self.like, *CONTINUE_SECONDS)
            if not isinstance(self.prompt, str):
                raise ValueError("expected a story or a recording to be like, got both: give one")
        if self.follow is not None and not isinstance(self.follow, Score):
            _check_length("recording to follow", self.follow, *FOLLOW_SECONDS)
        if self.plan is not None and self.follow is not None:
            raise ValueError("expected a plan or a recording to follow, got both: give one")
        if unknown := [part for part in self.only if part not in PARTS]:
            raise ValueError(f"expected to follow {', '.join(PARTS)}, got {unknown[0]!r}")
        if not isinstance(self.controls, Controls) and len(self.controls) != len(self.sections):
            raise ValueError(
                f"expected controls for each of {len(self.sections)} sections, got {len(self.controls)}"
            )
        check_seconds(self.new_seconds)
        last = self.sections[-1][0]
        if last >= self.new_seconds:
            raise ValueError(
                f"expected every section to begin before the end at {self.new_seconds:g} s, "
                f"one begins at {last:g} s: ask for more seconds"
            )

    def _check_inpainting(self) -> None:
        if self.inpaint is None:
            if self.regions:
                raise ValueError("expected a recording to inpaint with the regions")
            return
        others = {
            "a melody": self.melody,
            "a recording to continue": self.continue_,
            "a recording to be like": self.like,
            "a plan": self.plan,
            "something to follow": self.follow,
            "seconds": self.seconds,
            "something to keep": self.keep,
            "a story": None if isinstance(self.prompt, str) else self.prompt,
            "a blend": self.blend or None,
            "codes": self.codes or None,
        }
        if given := [name for name, value in others.items() if value is not None]:
            raise ValueError(f"expected nothing to inpaint together with {given[0]}: ask for one of them")
        values = self.controls
        if not isinstance(values, Controls):
            raise ValueError("expected one set of controls to inpaint with, got several")
        if values != Controls(key=values.key, drums=values.drums):
            raise ValueError(
                "expected a key or drums to inpaint with, got other values: the recording's own tempo, meter "
                "and chords run on"
            )
        _check_length("recording to inpaint", self.inpaint, *INPAINT_SECONDS)
        check_regions(self.regions, recording_seconds(self.inpaint))

    @property
    def sections(self) -> list[tuple[float, str]]:
        """Second of its beginning and text, of each section."""
        return list(self.prompt) if isinstance(self.prompt, list | tuple) else [(0.0, self.prompt)]

    @property
    def section_controls(self) -> tuple[Controls, ...]:
        """The values of each section."""
        if isinstance(self.controls, Controls):
            return (self.controls,) * len(self.sections)
        return tuple(self.controls)

    @property
    def asks_for_score(self) -> bool:
        """Whether a user gives anything of the music's course, other than in words."""
        return (
            any(controls.any for controls in self.section_controls)
            or self.plan is not None
            or self.follow is not None
        )

    @property
    def new_seconds(self) -> float:
        """Seconds of new music."""
        if self.seconds is not None:
            return self.seconds
        if self.inpaint is not None:
            return sum(end - begin for begin, end in self.regions)
        if self.melody is not None:
            return recording_seconds(self.melody)
        if self.follow is not None:
            if isinstance(self.follow, Score):
                return min(self.follow.seconds, MAX_SECONDS)
            return recording_seconds(self.follow)
        last = self.sections[-1][0]
        return last + LAST_SECTION_SECONDS if last else DEFAULT_SECONDS


class Asked(TypedDict, total=False):
    """What may be asked of a single piece beside its prompt, as keyword arguments; see `Request`."""

    seconds: float | None
    seed: int
    blend: float
    melody: AudioInput | None
    continue_: AudioInput | None
    like: AudioInput | None
    controls: Controls | Sequence[Controls]
    plan: Plan | None
    follow: AudioInput | Score | None
    only: Sequence[str]


def check_sections(sections: Sequence[tuple[float, str]]) -> None:
    """Raise ValueError unless sections are words, in order, from 0 on."""
    if not sections:
        raise ValueError('expected a story of sections such as (0, "a calm violin"), got none')
    for section in sections:
        if not isinstance(section, tuple | list) or len(section) != 2:
            raise ValueError(f'expected a story of sections such as (0, "a calm violin"), got {section!r}')
        check_prompt(section[1])
    starts = [start for start, _ in sections]
    if not all(isinstance(start, int | float) and math.isfinite(start) for start in starts):
        raise ValueError(f"expected sections that begin at a number of seconds, got {starts}")
    if starts[0] != 0:
        raise ValueError(f"expected the first section of a story to begin at 0:00, got {starts[0]:g} s")
    for before, after in pairwise(starts):
        if after - before < SHORTEST_SECTION:
            raise ValueError(
                f"expected sections in order and at least {SHORTEST_SECTION:g} s long, one at {before:g} s "
                f"is followed by one at {after:g} s"
            )


def check_regions(regions: Sequence[tuple[float, float]], seconds: float) -> None:
    """Raise ValueError unless regions are in order, apart from each other, and leave some of a recording."""
    if not regions:
        raise ValueError("expected a region to make anew, such as 0:12 to 0:20, got none")
    for region in regions:
        if len(region) != 2:
            raise ValueError(f"expected regions with a beginning and an end, got {region!r}")
        begin, end = region
        if not (math.isfinite(begin) and math.isfinite(end) and begin >= 0 and end <= seconds):
            raise ValueError(
                f"expected regions within the recording's {math.floor(seconds * 100) / 100:g} s, got "
                f"{begin:g} to {end:g} s"
            )
        if end - begin < SHORTEST_REGION:
            raise ValueError(f"expected regions of {SHORTEST_REGION:g} s or more, got {begin:g} to {end:g} s")
    for (begin, end), (after, _) in pairwise(regions):
        if after - end < SHORTEST_REGION:
            raise ValueError(
                f"expected regions in order, {SHORTEST_REGION:g} s apart or more, one from {begin:g} to "
                f"{end:g} s is followed by one from {after:g} s: put them together"
            )
    if seconds - sum(end - begin for begin, end in regions) < LEAST_KEPT:
        raise ValueError(
            f"expected regions that leave {LEAST_KEPT:g} s of the recording or more: to make all of it anew, "
            "generate"
        )


def check_prompt(prompt: str) -> None:
    """Raise ValueError for what describes no music."""
    if not isinstance(prompt, str):
        raise ValueError(f"expected a prompt of words, got {prompt!r}")
    if not prompt.strip():
        raise ValueError('expected a description of music, got an empty prompt; try "a calm violin melody"')
    if len(prompt) > MAX_PROMPT:
        raise ValueError(
            f"expected a prompt of at most {MAX_PROMPT} characters, got {len(prompt)}; shorten it"
        )


def check_seconds(seconds: float) -> None:
    """Raise ValueError for a length that cannot be made."""
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise ValueError(f"expected a number of seconds, got {seconds!r}")
    if not (math.isfinite(seconds) and 0 < seconds <= MAX_SECONDS):
        raise ValueError(f"expected seconds above 0 and at most {MAX_SECONDS:g}, got {seconds:g}")


def check_seed(seed: int) -> None:
    """Raise ValueError for what is no seed."""
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ValueError(f"expected a seed of 0 … 2^63 - 1, got {seed}")


def recording_seconds(recording: AudioInput) -> float:
    """Length of a recording, without reading a file's samples."""
    if isinstance(recording, Audio):
        return recording.seconds
    if not isinstance(recording, str | Path):
        raise ValueError(f"expected a recording as a file or an Audio, got {type(recording).__name__}")
    return seconds_of(recording)


def read_mono(what: str, recording: AudioInput, sample_rate: int) -> Audio:
    """A recording as [1, L] at `sample_rate`, on the CPU, mended where it can be.

    Warns:
        RecordingNotice: what was mended, or will be heard.

    Raises:
        FileNotFoundError, OSError, ValueError: it is no audio, or none that can be used.
    """
    faults: list[str] = []
    if isinstance(recording, Audio):
        try:
            waveform, mended = check_waveform(recording.waveform.cpu())
        except ValueError as error:
            raise ValueError(f"expected a {what} of finite samples: {error}") from None
        faults += mended
        audio = Audio(waveform, recording.sample_rate).mono().resample(sample_rate)
    else:
        audio = Audio.load_mono(recording, sample_rate, warn=faults.append)
    for fault in faults:
        if fault != SILENT_RECORDING:  # which is an error, where it matters (`check_sounding`)
            warnings.warn(f"{what}: {fault}", RecordingNotice, stacklevel=2)
    return audio


def check_sounding(what: str, audio: Audio) -> None:
    """Raise ValueError for silence."""
    if audio.waveform.abs().max() < SILENT:
        raise ValueError(f"expected a {what} that can be heard, it is silent: record it again, louder")


def _check_length(what: str, recording: AudioInput, least: float, most: float) -> None:
    seconds = recording_seconds(recording)
    if not least <= seconds <= most:
        advice = "record more" if seconds < least else "cut it first"
        raise ValueError(f"expected a {what} of {least:g} to {most:g} s, got {seconds:.4g} s: {advice}")
