"""Errors that the user can mend: shown as one line, without a traceback."""


class UserError(Exception):
    """A user's mistake, in one line: where, what is wrong, and what to do."""


class ElsewhereError(UserError):
    """A UserError of another process of the same run, which shows it."""


class StoppedError(Exception):
    """SIGTERM or the end of a job's time came; all is saved for the same command to go on from."""


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or its type where it has no text."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)
