"""A trained model on the benchmarks: predictions, the papers' tables, and a page to look at."""
