"""The office's API: one module for each thing that can be asked about, and one table that joins them."""
