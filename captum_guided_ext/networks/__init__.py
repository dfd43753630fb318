"""Networks by name, with their preprocessing, their class names and their parameters."""
