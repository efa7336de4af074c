"""Heads that read objects: pooling and grounding."""
