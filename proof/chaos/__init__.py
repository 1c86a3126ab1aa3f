"""A service under load, and one fault after the other: what is lost, what is counted, how long until it is well again."""
