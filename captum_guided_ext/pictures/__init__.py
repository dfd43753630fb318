"""Pictures, regions of them, and data sets of them."""
