"""Finished stages on disk: found by a fingerprint, written whole or not at all, resumed after a kill."""
