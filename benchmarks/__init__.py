"""One script a question; each prints ratios within one run."""
