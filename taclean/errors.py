"""Errors that are the user's to mend: shown as one line, without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """What is wrong, where, and what to do about it, in one line."""
