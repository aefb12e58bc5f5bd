"""The durable log in SQL: events in the order of their commits, a cursor per Trigger, retries, dead letters."""

from greenlight.broker.log.schema import SCHEMA

__all__ = ["SCHEMA"]
