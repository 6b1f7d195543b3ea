"""What the parser of a training's configuration complains of, in words for its user."""

import re

from musiclm.training.short_names import short


def plain(message: str) -> str:
    """What went wrong inside a jsonargparse message, without the types it tried on the way."""
    if "required: fit.data" in message or "required: validate.data" in message:
        return "expected a configuration: --config configs/PART.yaml, with layers of others after it"
    lacking = re.search(
        r"class_path 'musiclm\.data\.[^']*':\s*(?:- )?the following arguments are required: (\w+)", message
    )
    if lacking:
        name = short(f"--data.init_args.{lacking[1]}")
        return f"expected {name} FOLDER (see the configuration's first lines)"
    if "class_path 'lightning.LightningModule'" in message:
        return (
            f"expected a whole configuration (--config configs/PART.yaml) before its layers: {_last(message)}"
        )
    if " unrecognized arguments" in f" {message}" and ".yaml" in message:
        return f"{message}: expected --config before a configuration's name"
    return _last(message)


def _last(message: str) -> str:
    """The innermost complaint of a jsonargparse message."""
    inner = re.findall(
        r"(?:Errors:\s*- |Problem with given class_path '[^']*':\s*)(.*?)(?:\s*- Expected a|$)", message, re.S
    )
    return " ".join((inner[-1] if inner else message).split())[:1000]
