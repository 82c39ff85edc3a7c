"""Evaluation of representations, with moments computed where the store lacks them."""
