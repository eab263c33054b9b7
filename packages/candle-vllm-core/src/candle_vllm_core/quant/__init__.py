"""How a matrix may be stored; it imports nothing of the package."""
