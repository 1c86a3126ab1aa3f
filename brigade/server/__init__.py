"""How a worker lives and what it does with connections, below the application: nothing here knows FastAPI."""
