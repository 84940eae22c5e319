"""State machines: what an event means in which state, declared as a table that is checked."""
