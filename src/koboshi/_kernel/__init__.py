"""Layer 1: cells, messages, supervision. Standard library only."""
