"""Errors that the user can mend: shown as one line, without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """A user's mistake, in one line: where, what is wrong, and what to do."""


class ElsewhereError(UserError):
    """A UserError of another process of the same run, which shows it."""


class StoppedError(Exception):
    """SIGTERM came; what was done is saved, and the same command goes on from there."""


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or its type where it has no text."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)
