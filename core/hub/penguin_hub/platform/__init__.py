"""What every feature stands on: database, Redis, clock, ids, logging, embedded servers. Knows no feature."""
