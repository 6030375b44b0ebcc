"""Scripts that make the figures and tables of docs/ and the README: `python -m publish.<name>`, from the root."""
