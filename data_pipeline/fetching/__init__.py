"""Downloads that end with a whole, checked file or none: bounded retries, resume, rate limit, error pages."""
