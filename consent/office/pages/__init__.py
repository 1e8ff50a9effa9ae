"""The office's pages: one module for each, rendered on the server, without a script."""
