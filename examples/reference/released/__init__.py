"""Released checkpoints: their names, their computation, and the way to ours and back."""
