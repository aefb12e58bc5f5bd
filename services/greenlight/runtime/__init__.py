"""What every service is built on: the edge, errors, publishing, settings, clock."""
