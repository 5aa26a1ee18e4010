"""Commands and services in Docker containers; it knows neither Temporal, Vault nor a connector."""
