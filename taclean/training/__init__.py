"""The one training loop: batches, steps, checkpoints, several processes."""
