"""One worker process: forked from a clean server, given jobs over a socket, known dead by its pidfd."""
