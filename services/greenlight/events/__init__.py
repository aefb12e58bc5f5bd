"""The Event type, its codec, the vocabulary of types, and ids."""

from greenlight.events.event import Event, moment, rfc3339, time_of

__all__ = ["Event", "moment", "rfc3339", "time_of"]
