"""The people a tenant writes to."""
