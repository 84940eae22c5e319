"""Graceful degradation: what stands before a service that may be slow, overloaded or down."""
