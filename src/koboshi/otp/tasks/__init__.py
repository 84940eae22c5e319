"""Tasks: processes that run one function for somebody who wants its value."""
