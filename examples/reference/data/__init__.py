"""Scenes for the recipes: generated rooms and posed RGB-D scans."""
