"""python -m dipsop."""

from dipsop.cli import main

main()
