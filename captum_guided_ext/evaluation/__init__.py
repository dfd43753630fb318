"""Methods compared on a batch, and benchmarked on a data set."""
