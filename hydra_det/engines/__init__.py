"""Runtimes that run a network: each with its file and a forward that takes and gives torch tensors."""
