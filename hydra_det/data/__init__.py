"""From image files and annotations to batches, in any of the usual formats."""
