"""From raw ScanNet scans to the folder layout that the recipes read."""
