"""Authentication by API keys, authorisation of admins, rate limits."""
