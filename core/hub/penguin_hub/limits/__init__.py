"""How much anybody may ask: token buckets in Redis, and in this process while Redis is away."""
