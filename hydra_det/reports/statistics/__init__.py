"""From runs to answers: cells, comparisons, tests, and what they say to a claim."""
