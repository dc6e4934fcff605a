"""Who may do what: users, API keys, tokens of an OIDC issuer, and the audit of what was done."""
