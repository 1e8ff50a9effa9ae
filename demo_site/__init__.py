"""Fernwell Instruments: an invented company's site full of real tracking tags, to see the middleware work."""
