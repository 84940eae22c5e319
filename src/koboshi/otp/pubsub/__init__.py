"""One message to many: topics that processes subscribe to, and groups that they join."""
