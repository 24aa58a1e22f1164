"""Detectors of backdoors: one file per method. They read a model and change nothing."""
