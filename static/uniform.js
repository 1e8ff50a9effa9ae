// Behind a cache that gives everybody the same page, in which nothing optional is allowed: finds out what this very
// visitor allows, and makes the page this visitor's.
//
// Goes behind client.js, in the same block. The cookie is that of consent/variant_cookie.py, and what counts is what
// consent/decision.py says.

/** @type {any} */
const browser = navigator;
const site = tag.dataset;
// Without one, what silence allows; what cannot be read may have been a no.
const [, , said = "." + site.silence, second] =
  /(^|\s)consent_variant=([^;]*)(.*\sconsent_variant=)?/.exec(document.cookie) ?? [];
// Two, of the host and of its domain, say nothing: either may be the older one.
const [version, granted = "", told = "", others = "", ends] = second ? "" : said.split(".");
// What has expired counts no more, but what it refuses is refused.
// @ts-expect-error: it is a number, written out.
const valid = version == site.uniform && Date.now() < ends * 1e3;
// Each is asked about the first letter of a category.
/** @param {string} letter */
const grants = (letter) => granted.includes(letter);
/** @param {string} letter */
const overruled = (letter) =>
  [browser.globalPrivacyControl && "g", /^1/.test(browser.doNotTrack) && "d"].some(
    (name) => name && site[name].includes(letter) && !(valid && grants(letter) && told.includes(name)),
  );
/** @param {string} letter */
const counts = (letter) => !overruled(letter) && (valid || grants(letter) && site.silence.includes(letter));
state = [
  granted.replace(/./g, (letter) => counts(letter) ? letter : ""),
  // Vendors whose answer is another than their category's.
  ...others.split("_").filter(([letter]) => letter && counts(letter)).map((vendor) => vendor.slice(1)),
];
// Nobody is asked in a frame, nor who has answered. What is taken away goes before anything is drawn.
needless = top != window ? ".consent-root" : valid || [..."pft"].every(overruled) ? ".consent-banner" : "x";
