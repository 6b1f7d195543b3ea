"""What a prompt or a caption may ask for, and whether it is heard: for the ladder and for control."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from musiclm.corpus.theory import key_name
from musiclm.evaluate.listener import Heard
from musiclm.metrics.tempo import judge, tempo_class

Labels = Mapping[str, Any]


@dataclass(frozen=True)
class Attribute:
    """Something that a label says and a listener can hear.

    Args:
        title: in a table.
        label: which of the labels it is about.
        holds: whether what is heard is what the label says.
    """

    title: str
    label: str
    holds: Callable[[Heard, Any], bool]


ATTRIBUTES = {
    "drums": Attribute("drums", "drums", lambda heard, true: heard.drums == true),
    "tempo": Attribute("bpm ±4 %", "tempo", lambda heard, true: judge(heard.tempo, true) == "right"),
    "octave": Attribute("bpm or octave", "tempo", lambda heard, true: judge(heard.tempo, true) != "wrong"),
    "tempo_class": Attribute(
        "tempo class", "tempo_class", lambda heard, true: tempo_class(heard.tempo) == true
    ),
    "mode": Attribute("mode", "mode", lambda heard, true: heard.mode == true),
    "key": Attribute("key", "key", lambda heard, true: heard.key == true),
    "lead": Attribute("lead of 20", "lead", lambda heard, true: heard.lead == true),
    "genre": Attribute("genre of 11", "genre", lambda heard, true: heard.genre == true),
}


def spelled_out(labels: Labels) -> dict[str, Any]:
    """Labels with what follows from them: key of tonic and mode, mode of the key, class of the tempo."""
    known = dict(labels)
    if "tonic" in known and "mode" in known:
        known["key"] = key_name(known["tonic"], known["mode"])
    if "key" in known:
        known["mode"] = known["key"].split()[-1]
    if "tempo" in known:
        known["tempo_class"] = tempo_class(known["tempo"])
    return known
