"""The ways of adversarial training, what an attack sees of a network, and the watch over one-step attacks."""
