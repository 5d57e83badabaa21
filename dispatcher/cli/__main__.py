"""python -m dispatcher.cli: the `volley` command where its script is not on the path."""

from dispatcher.cli import main

main()
