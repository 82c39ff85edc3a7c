"""Evaluation: how well frozen embeddings predict gene functions and signals, against baselines."""
