"""What several test packages share: servers, hubs, recorders."""
