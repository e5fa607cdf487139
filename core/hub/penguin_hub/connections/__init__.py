"""A tenant's configured plugins: checked before they are saved, secrets kept apart, opened when they are needed."""
