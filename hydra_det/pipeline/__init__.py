"""One run: what is built and checked, its five stages, and what is measured of them."""
