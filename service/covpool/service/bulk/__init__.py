"""Bulk: every gene of a genome into a store, on one machine or a Dask cluster."""
