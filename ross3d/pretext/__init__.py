"""Masked views, pretext tasks and the reconstruction loss."""
