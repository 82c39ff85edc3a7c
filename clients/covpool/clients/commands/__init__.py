"""Commands of the client, found by `covpool` through entry points."""
