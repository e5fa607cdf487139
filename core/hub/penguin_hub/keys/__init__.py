"""API keys: shown once, found by a keyed hash, checked by bcrypt, remembered for a while, revoked at once."""
