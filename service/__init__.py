"""Yours: the settings, the features, and how they are put together."""
