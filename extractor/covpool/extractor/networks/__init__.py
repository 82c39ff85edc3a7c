"""Networks: covpool's own model code, equations only, and the published configurations."""
