"""A registry: keys of any kind, held by processes, gone with them."""
