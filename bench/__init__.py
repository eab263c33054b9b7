"""What the engine is measured with; `python -m bench NAME` runs one measurement and prints a table."""
