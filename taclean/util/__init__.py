"""Errors, files, random numbers, progress and processes."""
