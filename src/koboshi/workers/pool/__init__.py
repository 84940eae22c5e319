"""A pool: jobs queued, dealt out to worker processes, and their outcomes brought to whoever waits."""
