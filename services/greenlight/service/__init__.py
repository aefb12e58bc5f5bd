"""The base of every service: dependencies, edge, health, publisher, configuration, people, secrets."""
