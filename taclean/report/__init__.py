"""Pages and figures of a run."""
