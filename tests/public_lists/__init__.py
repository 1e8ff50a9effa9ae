"""Reading public lists: every list here is made up."""
