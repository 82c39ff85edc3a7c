"""Networks: our own model code, equations only, and their published configurations."""
