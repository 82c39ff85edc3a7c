"""Pooling: moments to fixed-length embeddings, fitted from cached moments alone."""
