"""What may go wrong with limits."""

from penguin_hub.platform.errors import TooMany


class RateLimited(TooMany):
    """The bucket is empty; `violated-policies` names it, `retry_after` says when there is a token again."""

    code = "rate_limited"
