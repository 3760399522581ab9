"""The door: HTTP in, answers out, one file for each part of the API; no trade rules here."""
