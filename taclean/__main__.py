"""`python -m taclean`."""

import os

# Idle OpenMP threads that spin take the cores from whatever else runs on the machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from taclean.cli import main

main()
