// Behind a cache that gives everybody the same page, in which nothing optional is allowed: finds out what this very
// visitor allows, and makes the page this visitor's.
//
// Goes behind client.js, in the same block. The cookie is that of consent/variant_cookie.py, and what counts is what
// consent/decision.py says.

const site = tag.dataset;
// Without one, what silence allows; what cannot be read may have been a no. Two, of the host and of its domain, say
// nothing: either may be the older one.
const [said = "=." + site.silence, second] = words(own.cookie).filter((/** @type {string} */ pair) =>
  /^consent_variant=/.test(pair),
);
const [, version, granted = "", told = "", others = "", ends] = second ? "" : said.split(/[=.;]/);
// What has expired counts no more, but what it refuses is refused.
// @ts-expect-error: it is a number, written out.
const valid = version == site.uniform && new Date() < ends * 1e3;
/** @type {any[]} */
const signals = [navigator.globalPrivacyControl && "g", /^1/.test(navigator.doNotTrack) && "d"];
// Each is asked about the first letter of a category.
/** @param {string} letter */
const overruled = (letter) =>
  signals.some((name) =>
    name && site[name].includes(letter) && !(valid && granted.includes(letter) && told.includes(name)),
  );
/** @param {string} letter */
const counts = (letter) =>
  !overruled(letter) && (valid || granted.includes(letter) && site.silence.includes(letter));
state = [
  [...granted].filter(counts).join(""),
  // Vendors whose answer is another than their category's.
  ...others.split("_").filter(([letter]) => letter && counts(letter)).map((vendor) => vendor.slice(1)),
];
// Nobody is asked in a frame, nor who has answered. What is taken away goes before anything is drawn.
needless = top != window ? ".consent-root" : valid || [..."pft"].every(overruled) ? ".consent-banner" : "x";
