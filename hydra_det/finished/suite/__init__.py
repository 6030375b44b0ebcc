"""A finished run under a suite of attacks: what is asked for, what is looked at, what is written."""
