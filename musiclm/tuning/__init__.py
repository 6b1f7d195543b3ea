"""A model learns a user's own music within minutes, and says what it has learned."""
