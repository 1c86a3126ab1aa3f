"""Calls to other services. Nothing here is loaded before a feature imports `brigade.Http` or opens `resources.http`."""
