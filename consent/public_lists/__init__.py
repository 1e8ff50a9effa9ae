"""Reading a site's own copies of public lists: see `consent.public_lists.importing`.

No such list is a part of this package.
"""
