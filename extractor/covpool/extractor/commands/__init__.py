"""Commands of the extractor, found by `covpool` through entry points."""
