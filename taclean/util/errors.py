"""Errors that the user can mend: shown as one line, without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """A user's mistake, in one line: where, what is wrong, and what to do."""


class ElsewhereError(UserError):
    """A UserError of another process of the same run, which shows it."""


class StoppedError(Exception):
    """SIGTERM came; what was done is saved, and the same command goes on from there."""
