"""Scores of answers, captions and boxes, each under a named protocol."""
