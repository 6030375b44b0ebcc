"""What an attack raises: the losses of a detector, and what its average precision loses."""
