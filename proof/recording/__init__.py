"""A recording of the lab's tour, and a page of its own that plays it without a server."""
