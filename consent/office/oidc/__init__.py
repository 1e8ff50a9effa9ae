"""Sign-in to the console through an OpenID Connect provider: authorization code with PKCE, and nothing else of it."""
