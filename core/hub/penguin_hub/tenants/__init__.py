"""Tenants, workspaces, users, roles, plans and sessions."""
