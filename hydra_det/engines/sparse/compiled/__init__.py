"""What Numba compiles: the steps of a program, in vectors and in threads."""
