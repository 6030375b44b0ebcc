"""A sparse inference engine for CPUs: time goes into the weights that are left."""
