"""Mail out: accepting, queueing and sending messages, and what becomes of them."""
