"""Whether what tenants rely on works, found out before they do."""
