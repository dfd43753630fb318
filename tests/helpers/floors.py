"""Every table has rows of floors; most tests are about those of the methods."""

FLOORS = ("constant_map", "random_map", "edges", "best_constant")


def of_methods(rows):
    """Return the rows of methods, as objects or as from a CSV file."""
    return [
        row for row in rows if (row if isinstance(row, dict) else vars(row))["method"] not in FLOORS
    ]
