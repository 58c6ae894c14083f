"""People and machines of an identity provider: OpenID Connect Core 1.0, OAuth 2.0 bearer tokens (RFC 6750, 9068)."""
