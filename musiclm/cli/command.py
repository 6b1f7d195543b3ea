"""The `musiclm` command. Each subcommand is a function elsewhere; jsonargparse reads its type hints.

A user's mistake (a ValueError or OSError) ends with one line and exit code 2; with MUSICLM_TRACEBACK=1 set,
the traceback shows where. A reader that closes the pipe (`| head`) ends a command as it ends any other, by
SIGPIPE and without a word.
"""

import importlib
import importlib.metadata
import inspect
import logging
import os
import re
import select
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from musiclm.extras import what_to_install
from musiclm.files import remove_unfinished
from musiclm.machine.cpus import share_cpus
from musiclm.machine.memory import keep_freed_memory
from musiclm.notices import plain_notices

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

# Words of the command line → the function behind them, and what it is for. Imported only when called.
COMMANDS: dict[tuple[str, ...], tuple[str, str]] = {
    ("generate",): ("musiclm.cli.generate:generate", "make music from words"),
    ("story",): ("musiclm.cli.generate:story", "make music whose description changes as it goes on"),
    ("inpaint",): ("musiclm.cli.generate:inpaint", "make a part of a recording anew"),
    ("serve",): ("musiclm.web.serve:serve", "serve a page on which music is made, and an HTTP interface"),
    ("tune",): ("musiclm.tuning.tune:tune", "let the model learn your own music, in minutes"),
    ("fit",): ("musiclm.training.cli:main", "train a part: --config configs/PART.yaml"),
    ("validate",): ("musiclm.training.cli:main", "measure a part on held-out recordings"),
    ("tokenize",): ("musiclm.data.tokenize:tokenize", "turn recordings into a token store"),
    ("label",): ("musiclm.data.labelling:label", "describe music that has no captions"),
    ("tokens", "info"): ("musiclm.data.store_report:info", "say what a token store holds"),
    ("tokens", "verify"): ("musiclm.data.store_report:verify", "look at everything in it"),
    ("tokens", "merge"): ("musiclm.data.store_editing:merge", "put token stores together"),
    ("tokens", "drop"): ("musiclm.data.store_editing:drop", "take recordings out of one"),
    ("corpus", "render"): ("musiclm.corpus.render:render", "compose and render the reference corpus"),
    ("corpus", "labels"): ("musiclm.corpus.labels:labels", "compose it, and write its table alone"),
    ("corpus", "melodies"): ("musiclm.corpus.melodies:melodies", "render its melodies in several versions"),
    ("audit", "plant"): ("musiclm.audit.canaries:plant", "put canaries into a token store"),
    ("audit",): ("musiclm.audit.audit:audit", "does the model repeat its training data"),
    ("import", "encodec"): ("musiclm.published.encodec:encodec", "a part of EnCodec's published weights"),
    ("import", "w2v_bert"): ("musiclm.published.w2v_bert:w2v_bert", "published w2v-BERT weights as a part"),
    ("import", "clap"): ("musiclm.published.joint:clap", "a published LAION-CLAP in MuLan's place"),
    ("import", "muq_mulan"): ("musiclm.published.joint:muq_mulan", "a published MuQ-MuLan in MuLan's place"),
    ("config", "list"): (
        "musiclm.training.shipped_configs:list_configs",
        "name the configurations that ship",
    ),
    ("config", "copy"): ("musiclm.training.shipped_configs:copy", "copy one of them, to change it"),
    ("bundle", "pack"): ("musiclm.bundle:pack", "put trained parts together as a model"),
    ("bundle", "info"): ("musiclm.bundle:info", "say what is in a bundle"),
    ("bundle", "card"): ("musiclm.bundle.card:card", "write its model card for the hub"),
    ("evaluate", "semantic"): ("musiclm.evaluate.probe:semantic", "what the semantic tokens carry"),
    ("evaluate", "codec"): ("musiclm.evaluate.codec:codec", "how good a codec is at each bit-rate"),
    ("evaluate", "mulan"): ("musiclm.evaluate.joint:mulan", "do text and audio find each other"),
    ("evaluate", "following"): ("musiclm.evaluate.following:following", "does music follow a hummed tune"),
    ("evaluate", "melody"): ("musiclm.evaluate.melody:melody", "does a tune find itself in other sound"),
    ("evaluate", "sound"): ("musiclm.evaluate.sound:sound", "how music sounds, beside real music"),
    ("evaluate", "quality"): (
        "musiclm.evaluate.quality:quality",
        "how near music is to real music",
    ),
    ("evaluate", "text"): ("musiclm.evaluate.text:text", "is music what its description says"),
    ("evaluate", "labels"): ("musiclm.evaluate.labels:labels", "has music the labels of what it stands for"),
    ("evaluate", "fad"): ("musiclm.evaluate.fad:fad", "part of it, by its earlier name"),
    ("evaluate", "benchmark"): (
        "musiclm.evaluate.benchmark:benchmark",
        "MusicLM's table 1 on public sets",
    ),
    ("evaluate", "listening"): ("musiclm.evaluate.listening:listening", "a page on which people compare"),
    ("evaluate", "listening-results"): (
        "musiclm.evaluate.listening_results:listening_results",
        "what they have preferred",
    ),
    ("evaluate", "adherence"): ("musiclm.evaluate.adherence:adherence", "does the music follow the prompt"),
    ("evaluate", "ladder"): ("musiclm.evaluate.ladder:ladder", "at which step is what a listener hears lost"),
    ("evaluate", "control"): ("musiclm.evaluate.control:control", "does a prompt get what it asks for"),
    ("evaluate", "score"): ("musiclm.evaluate.score:score", "how well is the score of a recording heard"),
    ("evaluate", "values"): ("musiclm.evaluate.values:values", "has music the values that it is given"),
    ("evaluate", "listener"): (
        "musiclm.evaluate.listener_training:listener",
        "what the listener of both hears in held-out pieces",
    ),
    ("evaluate", "bars"): ("musiclm.evaluate.bars:bars", "would a listener be content with the model"),
    ("evaluate", "negation"): ("musiclm.evaluate.negation:negation", "is what a prompt excludes left out"),
}
LIGHTNING = ("fit", "validate")
PAIRS = {"at": ("TIME", "TEXT"), "region": ("FROM", "TO")}  # options of two words, and what these are


def main(arguments: list[str] | None = None) -> None:
    """Run a command; exits with 2 and one line for a user's mistake."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command = _find(arguments)
    name = " ".join(["musiclm", *(command or ())])
    try:
        try:
            _dispatch(command, arguments)
        finally:
            if sys.stdout is not None:  # it is when the shell has closed it (>&-)
                sys.stdout.flush()  # as long as a failure can still be told
    except (ValueError, OSError, ModuleNotFoundError) as error:
        line = what_to_install(error) if isinstance(error, ModuleNotFoundError) else str(error)
        if line is None:
            raise
        if isinstance(error, BrokenPipeError) and _reader_has_left():
            _die_of(signal.SIGPIPE)
        if os.environ.get("MUSICLM_TRACEBACK"):
            raise
        _drop_unwritten()
        message = " ".join(line.split()) or type(error).__name__
        _say(f"{name}: {message}")
        sys.exit(2)
    except (KeyboardInterrupt, _Terminated) as stop:
        remove_unfinished()
        _say(f"{name}: stopped")
        # To die of the signal, and not to exit, tells a shell to leave the loop it is in.
        _die_of(signal.SIGINT if isinstance(stop, KeyboardInterrupt) else signal.SIGTERM)


class _Terminated(BaseException):
    """SIGTERM has come: as after Ctrl-C, what is half-written is removed on the way out."""


@contextmanager
def _terminating_tidily() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():  # where Python takes no handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _dispatch(command: tuple[str, ...] | None, arguments: list[str]) -> None:
    if arguments == ["--version"]:
        print(importlib.metadata.version("musiclm"))
        return
    if command is None:
        sys.exit(_explain(arguments))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    share_cpus()  # before torch is imported, which reads it then
    # Training imports it, where it is installed, and it complains of a HOME that it cannot write to
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    keep_freed_memory()
    with plain_notices(f"musiclm {' '.join(command)}"):
        _run(command, arguments[len(command) :])


def _reader_has_left() -> bool:
    """Whether standard output or standard error is a pipe that nobody reads, and not one to a worker."""
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            poll.register(stream.fileno(), 0)  # what is wrong with a descriptor is told unasked
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _say(line: str) -> None:
    try:
        print(line, file=sys.stderr, flush=True)
    except BrokenPipeError:
        _die_of(signal.SIGPIPE)


def _die_of(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def _drop_unwritten() -> None:
    """Let go of what standard output does not take, or Python would try again, and complain, when it ends."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _find(arguments: list[str]) -> tuple[str, ...] | None:
    return next((words for words in COMMANDS if tuple(arguments[: len(words)]) == words), None)


def _run(command: tuple[str, ...], arguments: list[str]) -> None:
    module, name = COMMANDS[command][0].split(":")
    function = getattr(importlib.import_module(module), name)
    if command[0] in LIGHTNING:  # which has handlers of its own
        function([*command, *arguments])
        return
    from jsonargparse import ArgumentError, ArgumentParser

    description = COMMANDS[command][1]
    parser = ArgumentParser(prog=f"musiclm {' '.join(command)}", description=description, exit_on_error=False)
    own = _add_own_arguments(parser, function)
    names = parser.add_function_arguments(function, as_positional=True, skip=set(own))
    try:
        given = _with_underscores(arguments, {*names, *own.values()})
        values = parser.instantiate_classes(parser.parse_args(given))
    except ArgumentError as error:
        words = _in_plain_words(str(error))
        if command == ("generate",) and words.startswith("unrecognized arguments"):
            words += ': expected one prompt, put it in quotes: "a calm violin"'
        raise ValueError(f"{words} (see musiclm {' '.join(command)} --help)") from None
    with _terminating_tidily():
        function(**{name: values[name] for name in names}, **{name: values[key] for name, key in own.items()})


def _add_own_arguments(parser: "ArgumentParser", function: Callable[..., None]) -> dict[str, str]:
    """Add the parameters that jsonargparse alone would not read as a shell's user writes them.

    Several paths or words, pairs of words, a word that may be left out (before the `*` of a function that has
    one), and an option with the name of a Python keyword: its parameter ends in an underscore.

    Returns:
        The key of each parameter's value.
    """
    from docstring_parser import parse

    help = {entry.arg_name: entry.description for entry in parse(function.__doc__ or "").params}
    parameters = inspect.signature(function).parameters
    has_options = any(each.kind is each.KEYWORD_ONLY for each in parameters.values())
    words_in_order = [each.name for each in parameters.values() if each.kind is each.POSITIONAL_OR_KEYWORD]
    if all(parameters[name].default is inspect.Parameter.empty for name in words_in_order):
        words_in_order = []  # none may be left out: jsonargparse reads them
    own = {}
    for name, kind in get_type_hints(function).items():
        if name not in parameters:
            continue
        each, key = parameters[name], name.rstrip("_")
        words: dict[str, Any] = {"help": help.get(name)}
        if kind == list[Path]:
            parser.add_argument(name, nargs="+", type=Path, **words)
        elif kind == Sequence[tuple[str, str]]:
            parser.add_argument(f"--{key}", nargs=2, action="append", metavar=PAIRS[key], default=[], **words)
        elif kind in (Sequence[Path], Sequence[str], Sequence[float]) and each.default == ():
            words |= {"nargs": "+", "action": "extend", "default": [], "type": get_args(kind)[0]}
            parser.add_argument(f"--{key}", **words)
        elif has_options and name in words_in_order:
            if each.default is not each.empty:
                words |= {"nargs": "?", "default": each.default}
            parser.add_argument(name, type=kind, **words)
        elif (
            kind is bool and each.default is False
        ):  # a switch: --strict, and as a YAML says it, --strict true
            parser.add_argument(f"--{name}", type=bool, nargs="?", const=True, default=False, **words)
        elif name != key:
            parser.add_argument(f"--{key}", type=kind, default=each.default, **words)
        else:
            continue
        own[name] = key
    return own


def _with_underscores(arguments: Sequence[str], names: Collection[str]) -> list[str]:
    """The options as they are called here, also where they are written as --adapter-scale."""
    words = []
    for word in arguments:
        name, equals, value = word.partition("=")
        known = name.startswith("--") and name[2:].replace("-", "_") in names
        words.append(f"--{name[2:].replace('-', '_')}{equals}{value}" if known else word)
    return words


def _in_plain_words(words: str) -> str:
    """jsonargparse's message, with what it expected called as users call it."""
    words = re.sub(r'^Parser key "([\w.]+)":', r"--\1:", " ".join(words.split()))
    words = re.sub(r"argument (--\w+): invalid float value: ", r"\1: expected a number, got ", words)
    # Of what may also be left out it says so at length.
    words = re.sub(
        r"Does not validate against any of the Union subtypes.*?Expected a ([^-]*?) - .*Given value: (.*)",
        r"Expected a \1. Got value: \2",
        words,
    )
    words = re.sub(
        r"Expected a typing\.Literal\[(.*?)\]\. Got value: (.*)",
        lambda found: f"expected one of {found[1].replace(chr(39), '')}, got {found[2]}",
        words,
    )
    for kind, plain in (
        ("collections.abc.Sequence", "a list such as [0,25]"),
        ("float", "a number"),
        ("int", "a whole number"),
        ("bool", "true or false"),
    ):
        words = words.replace(f"Expected a <class '{kind}'>. Got value:", f"expected {plain}, got")
    return words


def _explain(arguments: list[str]) -> int:
    """Print the commands; 0 where help was asked for, 2 for a command that is none."""
    helped = not arguments or arguments[-1] in ("-h", "--help")
    stream = sys.stdout if helped else sys.stderr
    if not helped:
        print(f"musiclm: expected a command, got {' '.join(arguments[:2])!r}; the commands are", file=stream)
    else:
        print("usage: musiclm COMMAND ...   (musiclm COMMAND --help tells more)\n", file=stream)
    for words, (_, purpose) in COMMANDS.items():
        print(f"  {' '.join(words):<26} {purpose}", file=stream)
    return 0 if helped else 2
