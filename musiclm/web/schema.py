"""What may be asked over HTTP, as JSON, and the `Request` that it makes."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from musiclm.generation.request import MAX_PROMPT, Request
from musiclm.score.controls import Controls

MOST_TAKES = 8
MOST_SECTIONS = 64
Words = Annotated[str, Field(max_length=MAX_PROMPT)]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")]
Seed = Annotated[int, Field(ge=0, lt=2**53)]  # what JavaScript counts exactly


class Plain(BaseModel):
    """Nothing but the fields that are there."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Values(Plain):
    """Values that the music is to have; what is left out is the words' or the planner's to say."""

    bpm: float | None = None
    meter: Annotated[str, Field(max_length=10, examples=["3/4"])] | None = None
    key: Annotated[str, Field(max_length=20, examples=["A minor"])] | None = None
    chords: Annotated[str, Field(max_length=1000, examples=["Am F C G"])] | None = None
    drums: bool | None = None

    def controls(self) -> Controls:
        """As the model takes them. Raises ValueError for impossible ones."""
        return Controls.of(**self.model_dump())


class Section(Plain):
    """A part of a story, from a second on."""

    at: Annotated[float, Field(ge=0, description="seconds from the beginning")]
    prompt: Words
    values: Values = Values()


class Piece(Plain):
    """What all music is asked for with."""

    model: str = Field("", description="one of /v1/models; the first, if not said")
    prompt: Words = ""
    seed: Seed | None = Field(None, description="drawn, if not said")
    takes: Annotated[int, Field(ge=1, le=MOST_TAKES)] = 1


class Music(Piece):
    """Music from words, or from the sections of a story."""

    seconds: float | None = None
    values: Values = Values()
    story: Annotated[list[Section], Field(max_length=MOST_SECTIONS)] = []
    blend: float = Field(0.0, description="seconds over which one section goes over into the next")

    def request(self, seed: int, recording: Path | None) -> Request:
        """What one take is. Raises ValueError for what cannot be made."""
        del recording
        if self.story and self.prompt:
            raise ValueError("expected a prompt or a story, got both: give one")
        if not self.story:
            return Request(self.prompt, self.seconds, seed, controls=self.values.controls())
        if self.values != Values():
            raise ValueError("expected the values of a story in its sections")
        sections = tuple((section.at, section.prompt) for section in self.story)
        controls = tuple(section.values.controls() for section in self.story)
        return Request(sections, self.seconds, seed, blend=self.blend, controls=controls)


class WithRecording(Piece):
    """Music that a recording is given for: an upload's id, or that of a piece."""

    recording: Id


class Continuation(WithRecording):
    """Music that goes on from a recording."""

    seconds: float | None = None
    values: Values = Values()

    def request(self, seed: int, recording: Path | None) -> Request:
        """What one take is. Raises ValueError for what cannot be made."""
        return Request(self.prompt, self.seconds, seed, continue_=recording, controls=self.values.controls())


class Melody(WithRecording):
    """Music that follows the tune of a recording."""

    seconds: float | None = None
    values: Values = Values()

    def request(self, seed: int, recording: Path | None) -> Request:
        """What one take is. Raises ValueError for what cannot be made."""
        return Request(self.prompt, self.seconds, seed, melody=recording, controls=self.values.controls())


class Inpainting(WithRecording):
    """Parts of a recording, made anew."""

    regions: Annotated[list[tuple[float, float]], Field(max_length=MOST_SECTIONS)]
    key: Annotated[str, Field(max_length=20)] | None = None
    drums: bool | None = None
    keep: list[Literal["beats", "keys", "chords", "drums"]] = ["beats", "keys"]

    def request(self, seed: int, recording: Path | None) -> Request:
        """What one take is. Raises ValueError for what cannot be made."""
        return Request(
            self.prompt,
            seed=seed,
            controls=Controls.of(key=self.key, drums=self.drums),
            only=self.keep,
            inpaint=recording,
            regions=sorted(self.regions),
        )
