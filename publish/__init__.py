"""Scripts that make the figures and tables of these pages: `python -m publish.<name>`, from the root."""
