"""An open MusicLM: text in, music out.

from musiclm import MusicLM

audio = MusicLM.from_pretrained("default").generate("a calm violin melody", seconds=10, seed=0)
audio.save("violin.wav")
"""

from typing import TYPE_CHECKING, Any

from musiclm.machine.cpus import share_cpus

if TYPE_CHECKING:
    from musiclm.audio import Audio
    from musiclm.generation.pipeline import MusicLM

    __version__: str

__all__ = ["Audio", "MusicLM", "__version__"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `musiclm --help` answers at once: torch alone takes seconds to import.
    if name == "__version__":
        from importlib.metadata import version

        return version("musiclm")
    if name in __all__:
        share_cpus()  # before torch is imported, where it has not been yet
    if name == "Audio":
        from musiclm.audio import Audio

        return Audio
    if name == "MusicLM":
        from musiclm.generation.pipeline import MusicLM

        return MusicLM
    raise AttributeError(f"module 'musiclm' has no attribute {name!r}")
