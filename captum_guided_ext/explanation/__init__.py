"""One prediction explained: its maps, the regions that carry them, and their limits."""
