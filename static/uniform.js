// Behind a cache that gives everybody the same page, in which nothing optional is allowed: puts on the tag what this
// very visitor allows, before guard.js reads it there, and makes the page this visitor's once it is there.
//
// Goes before guard.js, in the same block. The cookie is that of consent/variant_cookie.py, and what counts is what
// consent/decision.py says.
{
  /** @type {any} */
  const browser = navigator;
  const data = document.currentScript.dataset;
  const [version, granted = "", told = "", others = ""] = (
    /(?:^|; )consent_variant=([^;]*)/.exec(document.cookie) || ["", ""]
  )[1].split(".");
  const valid = version == data.uniform;
  const signals = (browser.globalPrivacyControl ? "g" : "") + (/^1/.test(browser.doNotTrack) ? "d" : "");
  // Each is asked about the first letter of a category.
  /** @param {string} letter */
  const grants = (letter) => granted.includes(letter) || (!version && data.silence);
  /** @param {string} letter */
  const overruled = (letter) =>
    [...signals].some((name) => data[name].includes(letter) && !(valid && grants(letter) && told.includes(name)));
  /** @param {string} letter */
  const allowed = (letter) => !overruled(letter) && grants(letter) && (valid || data.silence);
  // Vendors whose answer is another than their category's, unless the category is refused over their heads.
  const exceptions = others
    .split("_")
    .filter(([letter]) => letter && !overruled(letter) && (grants(letter) ? allowed(letter) : valid))
    .map((vendor) => vendor.slice(1));
  const letters = [..."pft"];
  data.allowed = [letters.filter(allowed).join(""), ...exceptions].join(" ");
  // Nobody is asked in a frame, nor who has answered.
  const needless =
    top != window ? ".consent-root" : (valid || letters.every(overruled)) && ".consent-banner,.consent-clearance";
  const arrange = () => {
    if (needless)
      for (const part of document.querySelectorAll(needless)) part.remove();
    for (const input of document.querySelectorAll(".consent-switch")) input.checked = allows(input.name);
  };
  // Before anything is drawn, so that nothing is seen that goes again.
  const watch = new MutationObserver(arrange);
  watch.observe(document, { childList: true, subtree: true });
  addEventListener("DOMContentLoaded", () => {
    watch.disconnect();
    arrange();
    restore();
  });
}
