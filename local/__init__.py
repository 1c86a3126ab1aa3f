"""Everything `make run` needs on one machine: an environment, real servers, and a supervisor. Never imports the service."""
