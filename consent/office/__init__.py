"""The privacy office: who may ask what, what it is told, and a log of what it asked."""
