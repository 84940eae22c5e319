"""Routers: one address for many actors that do the same work."""
