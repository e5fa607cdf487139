"""How long a tenant's events and deliveries are kept."""
