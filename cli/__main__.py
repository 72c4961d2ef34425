"""`python -m cli` is the `backchannel` command."""

from cli.main import main

main()
