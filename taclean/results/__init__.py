"""Tables and statistics of the scores. Nothing here imports torch."""
