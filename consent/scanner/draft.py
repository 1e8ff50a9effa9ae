"""The ``consent.toml`` that ``consent init`` writes: with a comment for everything that can be said in it."""

from __future__ import annotations

from consent.scanner.judging import Report
from consent.scanner.proposals import (
    Proposals,
    cookie_stub,
    counted,
    propose,
    site_name,
)
from consent.vendor_stubs import declare_lines, one_line, vendor_stub

_HEAD = """\
# The rules of {site}. All of it is optional; lines that begin with "#" are comments.
{origin}
# What silence means: "opt-in" (nothing optional without consent), "opt-out" or "notice".
regime = "opt-in"

# Whose law the site follows, such as "EU", "GB" or "US-CA". It is kept in receipts.
# jurisdiction = "EU"

# Whether the site is made for children: then nothing for targeting is ever allowed, by nobody.
# children = true

{declare}
# The cookie declaration lists those, too, that were seen on the site without being declared.
# declare_seen = true
# Public lists of hosts or cookies that nobody has described: files that "consent catalog import" writes.
# lists = ["lists/easyprivacy.toml"]

[site]
name = "{site}"
# controller = "Example Ltd"            # who is responsible, as visitors read it
# contact = "privacy@example.com"
# privacy_url = "/privacy"
# languages = ["en", "de"]              # those offered, the default first; left out: all that there are texts in
# language = "en"                       # or one for everybody; not both
# language_paths = {{ "/de/" = "de" }}    # pages whose address says their language
# opt_out_links = ["edaa.eu"]           # pages of the advertising industry to refer visitors to

# group = ["https://www.example.com", "https://www.example.org"]   # sites that hand a choice over to each other

[signals]
# Which categories a browser's signal refuses.
gpc_refuses = ["targeting"]
dnt_refuses = ["performance", "targeting"]
# Where silence is consent ("opt-out"): what one button refuses.
# opt_out_refuses = ["targeting"]

[choice]
days = 180                              # how long a yes and a no alike are remembered, 1 to 400
# domain = "example.com"                # a choice counts on all hosts below it, not on the one alone

[banner]
layout = "card"                         # or "bar", "dialog": how the banner lies over the page

# How long receipts are kept, in days: "consent office expire" erases what is older. Unsaid, they are kept for good.
# [retention]
# days = 1095
# jurisdictions = {{ "US-CA" = 730 }}     # where it is another number

# Vendors that the privacy office classifies are added to a file of their own, which is read with this one.
# [office]
# classified = "classified.toml"
# holidays = ["2026-12-25"]             # days that are no business days where the privacy office is

[enforcement]
refused = "strip"                       # or "hold": refused elements stay, inert, and come back without a reload
embeds = "replace"                      # or "strip": nothing offers a refused video or map in its place
unclassified = "allow"                  # or "hold", "strip": what becomes of third parties that nobody has explained
cache = "per-visitor"                   # or "variant", "uniform": who may be given a page made for somebody else
csp = "report"                          # or "enforce", "off": a Content-Security-Policy beside the site's own
# csp_allow = ["img.example.com"]       # what that allows besides

# Vendors that are told what a visitor allows, in their own words; docs/interfaces.md has all of them. And what scripts
# of the advertising industry are told, where visitors are in the United States.
# [interfaces]
# google = "basic"                        # Consent Mode; "advanced" lets its tag load without consent
# microsoft_uet = true
# meta = true
# gpp = "by-state"                        # or "national": sections of the IAB's Global Privacy Platform
# gpp_mspa = "opt-out-option"             # or "service-provider": for those who signed the IAB's agreement

# Who says where a visitor is, so that each is asked as their place requires; without it, everybody as said above.
# [jurisdictions]
# country_header = "CF-IPCountry"         # set by your own proxy, never passed on from outside
# region_header = "CF-Region-Code"
"""
_COOKIES = """
# Cookies that the site itself sets, one table each: visitors read of them, and those of a category that is refused
# are not set.
"""
_FILL_IN = """\
# Fill in the empty quotation marks, and take the "# " away in front of the table.

"""
_EXAMPLE_COOKIE = """\
# [[cookie]]
# name = "basket"
# purpose = "Remembers what you put into the basket."
# lifetime = "session"
# category = "strictly-necessary"       # or "performance", "functional", "targeting"
# http_only = true
"""
_VENDORS = """
# Companies that the catalog does not know, or should know otherwise, one table each. They count as declared.
"""
_EXAMPLE_VENDOR = """\
# [[vendor]]
# id = "example-stats"
# name = "Example Stats"
# company = "Example Stats Ltd"
# country = "IE"
# privacy = "https://stats.example.com/privacy"
# category = "performance"
# about = "Counts visits."
# hosts = ["stats.example.com"]
"""
_TEXTS = """
# Another policy for a part of the site: other keys of [enforcement] below some paths, or a file of its own for a host.
# [[rule]]
# paths = ["/members/"]
# unclassified = "strip"

# What is different on this site about a vendor of the catalog.
# [override.posthog]
# category = "performance"
# urls = ["/ingest/*"]                  # where it is found besides

# Texts that differ from the built-in ones: of the default language here, of others in tables such as [texts.de].
# [texts]
# accept = "Yes, all of them"

# What is said of vendors and cookies, in another language or in other words; the catalog's sentences are translated.
# [sentences.de]
# "Counts visits." = "Zählt Besuche."
"""
_DECLARE = """\
# The vendors on the pages, by their ids in the catalog ("consent catalog search NAME"): visitors read about them
# before they choose.
"""


def starting_policy() -> str:
    """Return a policy file to begin with, of a site that was not looked at."""
    declare = f'{_DECLARE}declare = [\n  # "google-analytics",\n]\n'
    return _whole("Example Shop", "", declare, _EXAMPLE_COOKIE, _EXAMPLE_VENDOR)


def drafted_policy(report: Report) -> str:
    """Return a policy file for a site that was scanned. It loads as it is; what is left for a human is in comments.

    Nothing of what the site sends gets into it but valid names and hosts, and comments of one line.
    """
    found = propose(report)
    recording = report.recording
    pages = len(recording.phases[0].visits) if recording.phases else 0
    scanned = f"{one_line(recording.url)} on {recording.started} UTC"
    origin = f"# Drafted from a scan of {scanned}: {counted(pages, 'page')}.\n"
    if left := left_to_say(found):
        origin += "# Left for you:\n" + "".join(f"#   - {line}\n" for line in left)
    cookies, vendors = _EXAMPLE_COOKIE, _EXAMPLE_VENDOR
    if found.cookies:
        cookies = _FILL_IN + "\n".join(map(cookie_stub, found.cookies))
    if found.companies:
        vendors = _FILL_IN + "\n".join(map(vendor_stub, found.companies))
    return _whole(site_name(report), origin, _DECLARE + declare_lines(found.declare), cookies, vendors)


def left_to_say(found: Proposals) -> list[str]:
    """Say what only a human can fill in."""
    left = ["who you are: controller, contact and privacy_url, below [site]"]
    if found.cookies:
        left.append(
            f"purpose and category of {counted(len(found.cookies), 'cookie')} of your own, below [[cookie]]"
        )
    if found.companies:
        left.append(
            f"who {counted(len(found.companies), 'company', 'companies')} that the catalog does not know "
            f"{'is' if len(found.companies) == 1 else 'are'}, below [[vendor]]"
        )
    if found.declare:
        left.append("whether you want every vendor that is declared")
    return left


def _whole(site: str, origin: str, declare: str, cookies: str, vendors: str) -> str:
    head = _HEAD.format(site=site.replace("\\", "").replace('"', ""), origin=origin, declare=declare)
    return head + _COOKIES + cookies + _VENDORS + vendors + _TEXTS
