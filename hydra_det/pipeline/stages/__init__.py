"""One stage: what it is, what its result depends on, and how it is trained."""
