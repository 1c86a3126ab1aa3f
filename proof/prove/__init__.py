"""`python -m proof.prove`: starts the service, runs every experiment in one go, judges the ratios, draws them."""
