"""What the recipes share: the reference model, its adapters, data and training."""
