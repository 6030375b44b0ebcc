"""Pictures: curves, forests, layers, learning, samples, and how they look."""
