"""`python -m musiclm.cli`: the command, where no script is installed."""

from musiclm.cli.command import main

main()
