"""Figures of the workflow, a module each: a function takes data and returns a figure."""
