"""Orders through Google Pub/Sub, and what surrounds them there."""
