"""Evaluation: how well frozen embeddings of genes predict what the genes do, against baselines that hurt."""
