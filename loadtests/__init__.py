"""Locust scenarios to play with, and the proof. Talks HTTP to a running service and never imports it."""
