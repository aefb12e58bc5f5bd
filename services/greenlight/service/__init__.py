"""What every service is built on: dependencies, edge, health, publisher, configuration, people, secrets."""
