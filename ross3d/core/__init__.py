"""Blocks that know nothing of scenes: shapes, attention, tokens, pooling, denoising, tokenizers."""
