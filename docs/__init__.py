"""Scripts that make the figures and tables of these pages: `python -m docs.<name>`, from the root."""
