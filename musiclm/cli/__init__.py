"""The `musiclm` command: its words, its messages, its pipes."""

from musiclm.cli.command import main

__all__ = ["main"]
