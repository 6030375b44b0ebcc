"""Darknet's own files: a network from the text of its `.cfg`, and its numbers from a `.weights`."""
