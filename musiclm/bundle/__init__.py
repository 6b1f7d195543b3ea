"""A trained model on disk: a folder with `model.yaml` and one safetensors file per part. Never pickle.

`model.yaml` names each part by class_path and init_args, as the training configs do, so that the same spec
builds a part for training and for generation. A single trained part is a bundle of one.

A part's name is its role, called after what the paper has in it: `soundstream` is the acoustic tokenizer,
whichever class that is.

A bundle may come from a stranger. Nothing in it is run: weights are safetensors, `model.yaml` is read as
plain data (`musiclm.plain`), and only parts of this project can be named in it (`musiclm.build`).
"""

from musiclm.build import build
from musiclm.bundle.commands import info, pack
from musiclm.bundle.reading import SHIPPED, Bundle, load_part
from musiclm.bundle.storage import Storage
from musiclm.bundle.writing import merge, save_part

__all__ = ["SHIPPED", "Bundle", "Storage", "build", "info", "load_part", "merge", "pack", "save_part"]
