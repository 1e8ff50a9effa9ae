"""Our own Content-Security-Policy: exact fields, and that it can only take away."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent import csp
from consent.catalog import Catalog, Vendor
from consent.categories import OPTIONAL, Category
from consent.choice import Choice
from consent.csp import MAX_ENFORCED_BYTES, MAX_REPORTED_BYTES, ClosedWorld, named_in, parse
from consent.decision import Decision, decide
from consent.policy import CspMode, Policy
from consent.signals import ChoiceState, Signals
from tests.exchange import CATALOG, POLICY, REFUSING, VENDORS, vendor

START = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob: about:"
URI = "; report-uri /_consent/report"
OWN = b"content-security-policy"
ONLY = b"content-security-policy-report-only"

MIXED = Catalog(
    (
        *VENDORS,
        replace(vendor("login", Category.STRICTLY_NECESSARY), urls=("big.example/login/*", "big.example/id")),
        replace(vendor("ads", Category.TARGETING), urls=("big.example/ads/*", "big.example/maps/pixel")),
        replace(vendor("maps", Category.FUNCTIONAL), urls=("big.example/maps*", "big.example/v*/tile")),
        replace(vendor("tiles", Category.FUNCTIONAL), urls=("tiles.example/a*", "tiles.example/;b,c")),
    )
)


def deciding(*granted: Category, **vendors: bool) -> Decision:
    choice = Choice(
        receipt_id="1f0c6e7e-3c58-4b6e-8f9f-0d3f5d7c2a10",
        subject="0" * 32,
        made_at=1,
        policy_version=POLICY.version,
        granted=frozenset(granted),
        vendors=vendors,
        told=frozenset(),
    )
    return decide(POLICY, Signals(choice=choice, choice_state=ChoiceState.VALID))


def policy_of(
    *own: str,
    catalog: Catalog = CATALOG,
    decision: Decision = REFUSING,
    seen: tuple[str, ...] = (),
    declared: tuple[str, ...] = (),
    allow: tuple[str, ...] = (),
    mode: CspMode = CspMode.ENFORCE,
) -> str:
    """Return our policy for a page with its ``own``, without the part that says where to report."""
    policy = Policy(
        csp=mode, csp_allow=allow, vendors=tuple(catalog.vendors[vendor_id] for vendor_id in declared)
    )
    world = ClosedWorld(catalog, policy)
    headers = [(OWN, text.encode()) for text in own]
    added = world.added(headers, decision, variant=decision.key, seen=seen, secure=False)
    name, value = added[len(headers)]
    assert added[: len(headers)] == headers
    assert name == (OWN if mode is CspMode.ENFORCE else ONLY)
    text = value.decode()
    assert text.startswith(START)
    assert text.endswith(URI)
    return text.removeprefix(START).removesuffix(URI).strip()


def fields(
    headers: list[tuple[bytes, bytes]], mode: CspMode, *, secure: bool = True
) -> list[tuple[bytes, bytes]]:
    world = ClosedWorld(CATALOG, Policy(csp=mode), prefix="/shop/_consent")
    return world.added(headers, REFUSING, variant="x", seen=(), secure=secure)


def test_a_page_without_a_policy_gets_ours_beside_where_it_is_reported() -> None:
    """Word for word, over HTTPS; over HTTP browsers know no reporting endpoints, and are not told any."""
    value = START.encode() + b"; report-uri /shop/_consent/report"
    endpoint = (b"reporting-endpoints", b'consent-csp="/shop/_consent/report"')
    html = (b"content-type", b"text/html")
    assert fields([html], CspMode.ENFORCE) == [html, (OWN, value + b"; report-to consent-csp"), endpoint]
    assert fields([html], CspMode.REPORT) == [html, (ONLY, value + b"; report-to consent-csp"), endpoint]
    assert fields([html], CspMode.REPORT, secure=False) == [html, (ONLY, value)]


def test_a_page_keeps_its_own_policies_and_its_endpoints() -> None:
    """Ours is one more; the endpoints of both are in one line, ours last."""
    own = [
        (b"Content-Security-Policy", b"script-src 'nonce-r4nd0m' 'strict-dynamic'; report-to theirs"),
        (b"Reporting-Endpoints", b'theirs="/r"'),
        (b"reporting-endpoints", b'more="https://r.example/"'),
        (b"Content-Security-Policy-Report-Only", b"default-src 'none'"),
    ]
    added = fields(own, CspMode.ENFORCE)
    assert added[:2] == [own[0], own[3]]
    assert [name for name, _ in added[2:]] == [OWN, b"reporting-endpoints"]
    assert added[3][1] == (b'theirs="/r", more="https://r.example/", consent-csp="/shop/_consent/report"')
    assert b"r4nd0m" not in added[2][1]


def test_what_a_page_names_is_allowed_as_it_is_written() -> None:
    """Hosts of all its policies and directives, scheme, port and path included, each once; nothing else."""
    assert policy_of(
        "IMG-SRC https://a.example *.b.example:8080/x/ 'self' data: https: *; script-src a.example:*, "
        "font-src b.example http://localhost:3000 *.com https://* 'sha256-x' ws://c.example",
        "connect-src https://a.example; form-action pay.example; frame-ancestors f.example; base-uri g.example",
    ) == ("*.b.example:8080/x/ a.example:* b.example http://localhost:3000 https://a.example ws://c.example")


def test_of_two_directives_of_one_name_the_first_counts() -> None:
    """In each policy by itself, whatever the case; a comma begins another policy."""
    assert policy_of("img-src a.example; Img-Src b.example") == "a.example"
    assert policy_of("img-src a.example, img-src b.example") == "a.example b.example"
    assert parse("a b, ;, A x;a y ") == [{"a": ["b"]}, {"a": ["x"]}]


@pytest.mark.parametrize(
    "own",
    [
        "img-src https://t.tracker.example",
        "img-src tracker.example:8443/x",
        "default-src *.tracker.example",
        "script-src TRACKER.example",
        "img-src *.deep.tracker.example",
    ],
)
def test_a_place_of_a_refused_vendor_is_not_copied(own: str) -> None:
    """Neither a host nor a wildcard over one; with consent both are."""
    assert "tracker" not in policy_of(own)
    assert own.split()[1] in policy_of(own, decision=deciding(*OPTIONAL)).split()


def test_of_a_host_with_several_vendors_the_part_that_is_not_refused_is_allowed() -> None:
    """A site that names the host means one of them; a path that is nobody's stays as it is."""
    assert policy_of("script-src big.example", catalog=MIXED) == (
        "big.example/login/ *.big.example/login/ big.example/id *.big.example/id"
    )
    assert policy_of("img-src www.big.example/login/ big.example/free", catalog=MIXED) == (
        "big.example/free www.big.example/login/"
    )
    assert policy_of("img-src big.example/ads/ big.example/ads/x.gif", catalog=MIXED) == ""


def test_declared_vendors_come_with_what_the_decision_allows() -> None:
    """First those that are declared, then those that were seen; what is refused is in neither.

    WebSockets are for vendors that are not there for targeting.
    """
    counter = "counter.example *.counter.example wss://counter.example wss://*.counter.example"
    cdn = "cdn.example *.cdn.example wss://cdn.example wss://*.cdn.example"
    tracker = "tracker.example *.tracker.example"
    for decision, expected in (
        (REFUSING, cdn),
        (deciding(Category.PERFORMANCE), f"{counter} {cdn}"),
        (deciding(*OPTIONAL, counter=False), f"{tracker} {cdn}"),
    ):
        text = policy_of(decision=decision, declared=("tracker", "counter"), seen=("cdn", "tracker"))
        assert text == expected


def test_paths_say_no_more_than_the_catalog_where_somebody_else_is_refused() -> None:
    """A source ends at a slash: it says more than ``/a*`` where nobody minds, and less where somebody does."""
    allowed = deciding(Category.FUNCTIONAL)
    assert policy_of(catalog=MIXED, decision=allowed, declared=("tiles",)) == (
        "tiles.example *.tiles.example tiles.example/%3Bb%2Cc *.tiles.example/%3Bb%2Cc"
    )
    assert policy_of(catalog=MIXED, decision=allowed, declared=("maps",)) == (
        "big.example/maps *.big.example/maps big.example/maps/ *.big.example/maps/ "
        "big.example/v *.big.example/v big.example/v/ *.big.example/v/"
    )


def test_places_within_an_allowed_host_are_not_repeated() -> None:
    """``*.tracker.example`` says them all."""
    catalog = Catalog((*VENDORS, vendor("deep", Category.TARGETING, "x.tracker.example", "other.example")))
    assert policy_of(catalog=catalog, decision=deciding(*OPTIONAL), declared=("deep", "tracker")) == (
        "other.example *.other.example tracker.example *.tracker.example"
    )


def test_what_the_site_allows_besides_is_allowed() -> None:
    """But no more than its own policy may name a refused vendor."""
    assert policy_of(allow=("img.example.com", "*.pictures.example/x/", "tracker.example")) == (
        "img.example.com *.pictures.example/x/"
    )


@pytest.mark.parametrize(
    ("mode", "bound"), [(CspMode.ENFORCE, MAX_ENFORCED_BYTES), (CspMode.REPORT, MAX_REPORTED_BYTES)]
)
def test_a_policy_is_bounded(mode: CspMode, bound: int, caplog: pytest.LogCaptureFixture) -> None:
    """What was named first is in it; who enforces is told once that it is full, in few words."""
    many = [
        vendor(f"v{n}", Category.TARGETING, *(f"h{m}.v{n}.example" for m in range(3))) for n in range(400)
    ]
    catalog = Catalog((*VENDORS, *many))
    world = ClosedWorld(catalog, Policy(csp=mode, vendors=tuple(many)))
    with caplog.at_level(logging.WARNING, "consent"):
        for key in ("a", "b"):
            (_, value), *_ = world.added(
                [], deciding(*OPTIONAL, v399=False), variant=key, seen=("cdn",), secure=True, plain=True
            )
            assert bound - 200 < len(value) <= bound
            assert b"h0.v0.example *.h0.v0.example h0.v1.example" in value
            assert value.endswith(b"; report-uri /_consent/report; report-to consent-csp")
    assert len(caplog.records) == (mode is CspMode.ENFORCE)


def test_a_full_policy_is_open_to_who_allows_everything() -> None:
    """What was allowed works. Whoever refuses one vendor gets what fits, and everybody where all get the same."""
    many = tuple(
        vendor(f"v{n}", Category.TARGETING, *(f"h{m}.v{n}.example" for m in range(3))) for n in range(400)
    )
    catalog = Catalog((*VENDORS, *many))
    everything = deciding(*OPTIONAL)

    def opened(*vendors: Vendor, decision: Decision = everything, for_all: bool = False) -> bool:
        world = ClosedWorld(catalog, Policy(csp=CspMode.ENFORCE, vendors=vendors), for_all=for_all)
        (_, value), *_ = world.added([], decision, variant="", seen=(), secure=False, plain=True)
        return b" *;" in value

    assert opened(*many)
    assert not opened(*many[:9])
    assert not opened(*many, decision=deciding(*OPTIONAL, v399=False))
    assert not opened(*many, for_all=True)


def test_what_does_not_fit_leaves_room_for_what_does() -> None:
    """A long address takes the others nothing."""
    long = "img.example.com/" + "x" * MAX_ENFORCED_BYTES
    assert policy_of(f"img-src {long} pictures.example") == "pictures.example"


def test_a_policy_is_made_once_for_each_variant_and_page_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the nonce; again when a vendor was seen for the first time; and no more are kept than there is room."""
    world = ClosedWorld(CATALOG, Policy())
    made: list[tuple[str, ...]] = []
    real = ClosedWorld._policy

    def counting(self: ClosedWorld, decision: Decision, named: object, seen: tuple[str, ...]) -> bytes:
        made.append(tuple(seen))
        return real(self, decision, named, seen)  # type: ignore[arg-type]

    monkeypatch.setattr(ClosedWorld, "_policy", counting)
    seen: tuple[str, ...] = ()
    for number in range(5):
        own = [(OWN, f"script-src 'nonce-{number}abc' 'sha256-{number}' a.example".encode())]
        world.added(own, REFUSING, variant="a", seen=seen, secure=True)
    assert made == [()]
    newly = ("cdn",)
    assert b"cdn.example" in dict(world.added([], REFUSING, variant="a", seen=newly, secure=True))[ONLY]
    assert made == [(), ("cdn",)]
    for number in range(3 * csp._MAX_MEMO):
        world.added([], REFUSING, variant=str(number), seen=newly, secure=True)
        assert len(world._memo) <= csp._MAX_MEMO


# --- that it can only take away, as browsers match (CSP Level 3, section 6.7.2) ---


def _matches(source: str, url: str) -> bool:
    """Tell whether a page on https://www.example.com may load ``url`` by ``source``; enough of it for these tests."""
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    if source == "*":
        return scheme in ("http", "https")
    if source == "'self'":
        return (scheme, host) == ("https", "www.example.com")
    if source.endswith(":"):
        return source == scheme + ":"
    said, there, place = source.partition("://")
    if not there:
        said, place = "https", source
    wanted, slash, wanted_path = place.partition("/")
    if wanted.startswith("*."):
        fits = host.endswith(wanted[1:].lower())
    else:
        fits = host == wanted.lower()
    if slash and wanted_path:
        fits &= path.startswith(wanted_path) if wanted_path.endswith("/") else path == wanted_path
    return fits and scheme == said


def _allowed(headers: list[tuple[bytes, bytes]], url: str) -> bool:
    """Tell whether every enforced policy lets a page load a picture from ``url``."""
    return all(
        any(_matches(source, url) for source in policy.get("img-src", policy.get("default-src", ["*"])))
        for name, value in headers
        if name == OWN
        for policy in parse(value.decode())
    )


_HOSTS = st.sampled_from(["a.example", "t.tracker.example", "tracker.example", "cdn.example", "x.y.example"])
_PATHS = st.sampled_from(["", "/", "/x/", "/x", "/x/y"])
_SOURCES = st.one_of(
    st.sampled_from(
        ["*", "'self'", "'none'", "https:", "data:", "'unsafe-inline'", "'nonce-a'", "*.example"]
    ),
    st.builds(
        lambda scheme, star, host, path: f"{scheme}{star}{host}{path}",
        st.sampled_from(["", "https://", "http://"]),
        st.sampled_from(["", "*."]),
        _HOSTS,
        _PATHS,
    ),
)
_POLICIES = st.lists(
    st.builds(
        lambda name, sources: f"{name} {' '.join(sources)}",
        st.sampled_from(["img-src", "default-src", "IMG-SRC", "script-src"]),
        st.lists(_SOURCES, max_size=4),
    ),
    max_size=3,
).map("; ".join)
_URLS = st.builds(lambda host, path: f"https://{host}{path or '/'}", _HOSTS, _PATHS)


@given(
    st.lists(_POLICIES, max_size=3),
    _URLS,
    st.sets(st.sampled_from(OPTIONAL)),
    st.lists(st.sampled_from(sorted(CATALOG.vendors)), unique=True).map(tuple),
)
def test_ours_never_allows_what_the_page_forbids_or_the_visitor_refused(
    own: list[str], url: str, granted: set[Category], seen: tuple[str, ...]
) -> None:
    """Whatever the page's policies are, its fields stay, and with ours no more may be loaded than without."""
    headers = [(OWN, text.encode()) for text in own]
    decision = deciding(*granted)
    world = ClosedWorld(CATALOG, Policy(csp=CspMode.ENFORCE))
    added = world.added(headers, decision, variant=decision.key, seen=seen, secure=True)
    assert added[: len(headers)] == headers
    assert _allowed(headers, url) or not _allowed(added, url)
    if "tracker.example" in url and Category.TARGETING not in granted:
        assert not _allowed(added, url)


def test_a_policy_as_long_as_an_attack_is_read_in_part() -> None:
    """Of a field only the beginning counts, and of a directive a thousand sources."""
    assert len(named_in((b"img-src " + b" ".join(b"h%d.example" % n for n in range(50_000)),))) <= 1_000
