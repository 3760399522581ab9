"""Orders, API keys and the audit trail in PostgreSQL, for any number of servers at once."""
