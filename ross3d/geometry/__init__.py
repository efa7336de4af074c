"""Posed RGB-D frames, cameras, positions, boxes and bird's-eye views."""
