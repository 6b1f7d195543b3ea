"""The forms of generation in Python: each says what is asked for, and `perform` makes it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Unpack

from torch import Tensor

from musiclm.audio import Audio
from musiclm.generation.audio_stream import AudioStream
from musiclm.generation.old_names import instead_of_clip, with_clip
from musiclm.generation.request import Asked, AudioInput, Keep, Prompt, Request
from musiclm.generation.semantic_sampler import OnSemantic
from musiclm.generation.windows import OnProgress
from musiclm.score.controls import Controls
from musiclm.score.plan import Plan
from musiclm.score.score import PARTS, Score


class Forms(ABC):
    """What can be asked of a model."""

    @abstractmethod
    def perform(
        self,
        request: Request,
        on_progress: OnProgress | None = None,
        on_semantic: OnSemantic | None = None,
    ) -> AudioStream:
        """What was asked for, ready to be made block by block.

        Raises:
            ValueError, FileNotFoundError: a recording cannot be used, or the bundle lacks a component for it.
        """

    def generate(
        self,
        prompt: Prompt = "",
        *,
        seconds: float | None = None,
        seed: int = 0,
        blend: float = 0.0,
        melody: AudioInput | None = None,
        continue_: AudioInput | None = None,
        like: AudioInput | None = None,
        controls: Controls | Sequence[Controls] | None = None,
        plan: Plan | None = None,
        follow: AudioInput | Score | None = None,
        only: Sequence[str] = PARTS,
        on_progress: OnProgress | None = None,
        on_semantic: OnSemantic | None = None,
        clip: AudioInput | None = None,
    ) -> Audio:
        """Music in the manner of the prompt: [1, round(seconds * 24000)], the same for the same seed.

        Args:
            prompt: a description in words; or several, each with the second it begins at. Optional where
                there is a recording to continue, whose own sound then says what it is like, or to be like.
            seconds: of new music, at most 600; without it as long as the melody, or 10, or for a story 15 s
                beyond where its last section begins.
            seed: another one gives another sample.
            blend: seconds over which a story goes over from one section to the next; 0 switches.
            melody: a recording of 1 to 60 s, sung, hummed or played, whose melody is followed; beyond its end
                the music goes on by itself.
            continue_: a recording of 1 to 600 s to go on from: the result begins with it, its last 0.1 s
                cross-faded with the music that follows.
            like: a recording of 1 to 600 s that it is to be like, in the place of words or beside them.
            controls: values that the music is to have (tempo, meter, key, chords, drums); of several
                sections, one for all or one for each. They count more than what the words name.
            plan: of the music, in bars (`musiclm.score.plan.read_plan`); it counts more than the words.
            follow: a recording of 5 to 600 s whose beats, keys, chords and drums are followed, or a score.
            only: the parts of it that are followed.
            on_progress: called as the stages advance.
            on_semantic: called with semantic tokens [1, 1, t] as they are drawn, on the CPU, before any sound
                is made of them.
            clip: the old name of `continue_`.

        Warns:
            PromptNotice: the model knows hardly a word of the prompt, or reads only its beginning.

        Raises:
            ValueError, FileNotFoundError: what was asked for cannot be made, or not by this bundle.
        """
        request = Request(
            prompt,
            seconds,
            seed,
            blend=blend,
            melody=melody,
            continue_=instead_of_clip(continue_, clip),
            like=like,
            controls=Controls() if controls is None else controls,
            plan=plan,
            follow=follow,
            only=only,
        )
        return self.perform(request, on_progress, on_semantic).listen()[0]

    def stream(
        self,
        prompt: Prompt = "",
        *,
        on_progress: OnProgress | None = None,
        on_semantic: OnSemantic | None = None,
        clip: AudioInput | None = None,
        **asked: Unpack[Asked],
    ) -> Iterator[Tensor]:
        """Blocks [1, l] of the same audio that `generate` returns, as they are decoded."""
        request = Request(prompt, **with_clip(asked, clip))
        return (block[0] for block in self.perform(request, on_progress, on_semantic))

    def story(
        self,
        sections: Sequence[tuple[float, str]],
        *,
        on_progress: OnProgress | None = None,
        **asked: Unpack[Asked],
    ) -> Audio:
        """Music whose description changes as it goes on: `generate` of several prompts (MusicLM, sec. 4.2).

        A section begins where it is to, to the semantic token (40 ms): the windows' stride begins anew there.

        Args:
            sections: second of its beginning and text, of each; the first begins at 0.
            on_progress: called as the stages advance.
            asked: as in `generate`; the seconds are those in all.
        """
        return self.generate(tuple(sections), on_progress=on_progress, **asked)

    def inpaint(
        self,
        recording: AudioInput,
        regions: Sequence[tuple[float, float]],
        prompt: str = "",
        *,
        seed: int = 0,
        controls: Controls | None = None,
        only: Sequence[str] = ("beats", "keys"),
        on_progress: OnProgress | None = None,
    ) -> Audio:
        """A recording with regions made anew, [1, L] at 24 kHz; the rest stays, but for fades of 50 ms.

        For a bundle with a denoiser, which hears what comes after a region.

        Args:
            recording: of 1.5 to 600 s.
            regions: seconds at which they begin and end, in order.
            prompt: a description of what is to be in them; without it they sound as what is beside them.
            seed: another one gives another sample.
            controls: a key, and whether there are drums, from the regions' beginnings on; without them the
                prompt's, and else the recording's key.
            only: the parts of the recording's own score (beats, keys, chords, drums) that run on in regions.
            on_progress: called as the stages advance.

        Raises:
            ValueError, FileNotFoundError: what was asked for cannot be made, or not by this bundle.
        """
        request = Request(
            prompt, seed=seed, controls=controls or Controls(), inpaint=recording, regions=regions, only=only
        )
        return self.perform(request, on_progress).listen()[0]

    def variations(
        self,
        prompt: Prompt = "",
        *,
        num: int = 4,
        keep: Keep | None = None,
        on_progress: OnProgress | None = None,
        clip: AudioInput | None = None,
        **asked: Unpack[Asked],
    ) -> list[Audio]:
        """Different samples of the same request, drawn in one batch.

        Sample k (from 0) draws from a source of its own, seeded with seed + k: it does not depend on the
        others. It is what `generate(..., seed=seed + k)` gives, bit by bit (unless there was no C compiler at
        installation: then products of several rows round otherwise, and where two codes are nearly as likely
        it goes on as another sample).

        Args:
            num: samples.
            keep: `semantic` draws the semantic tokens once, and only the sound anew for each sample: what
                stays the same is what those tokens carry (MusicLM, sec. 5.2).
            prompt, on_progress, clip, asked: as in `generate`.
        """
        request = Request(prompt, num=num, keep=keep, **with_clip(asked, clip))
        return self.perform(request, on_progress).listen()
