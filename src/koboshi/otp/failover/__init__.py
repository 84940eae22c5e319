"""Failover: several sources of one stream, in order of preference."""
