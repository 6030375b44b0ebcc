"""Many runs: a sweep over values, and the search for the ratio that a target leads to."""
