"""The pruned network of a finished run made small: its files, its engines, and what it costs."""
