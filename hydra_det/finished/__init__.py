"""What is done with a finished run: attacked by a suite, made compact, used on pictures."""
