"""The embedded store: SQLite files, each with one writer."""
