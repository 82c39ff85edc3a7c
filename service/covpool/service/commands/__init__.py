"""Commands of the service, found by `covpool` through entry points."""
