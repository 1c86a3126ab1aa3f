"""`make bench`: ours beside the textbook and the ceiling of the server, in one run, alternating."""
