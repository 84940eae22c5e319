"""Layer 1, its upper half: supervisors, child specs, and the program around them. Standard library only."""
