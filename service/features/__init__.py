"""Yours: everything in here can be replaced. A feature is a folder here and a word in `service.main.FEATURES`."""
