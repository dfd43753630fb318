"""What metrics and evaluation draw on: random numbers by purpose, chunks, intervals."""
