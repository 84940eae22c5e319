"""The drop-in for `ProcessPoolExecutor`: a pool on a thread of its own, for programs without `async`."""
