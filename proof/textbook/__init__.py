"""The service as good tutorials and public templates write it: what `make bench` measures ours against."""
