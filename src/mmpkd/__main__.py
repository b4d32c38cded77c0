"""``python -m mmpkd``."""

from mmpkd.cli import main

main()
