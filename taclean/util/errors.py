"""Errors that are the user's to mend: shown as one line, without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """What is wrong, where, and what to do about it, in one line."""


class ElsewhereError(UserError):
    """A UserError that another process of the same run raised, and shows."""


class StoppedError(Exception):
    """SIGTERM came; what was done is saved, and the same command goes on from there."""
