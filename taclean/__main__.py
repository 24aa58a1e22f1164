"""`python -m taclean`."""

from taclean.cli import main

main()
