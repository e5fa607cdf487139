"""The edge: who is asking, what may he do, and every answer's shape. Features know nothing of HTTP but their routes."""
