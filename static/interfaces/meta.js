// Meta: ends what a snippet with fbq("consent", "revoke") begins. While it is refused, its name does nothing at all.

announce(() => refuses(META) || page.fbq("consent", "grant"));
