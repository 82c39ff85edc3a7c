"""Commands of the client; `covpool` finds them through entry points."""
