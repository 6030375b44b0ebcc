"""Annotation files of every kind, read into the same records, and which images belong to which split."""
