// Says to whoever is allowed, in the vendor's own words, that it is. Goes behind withdrawal.js, in the same block.

/** @type {(() => unknown)[]} */
const sayings = [];
const announceAll = () => {
  for (const saying of sayings) safely(saying);
};
/**
 * Says something at once, when the page is there, and whenever what is allowed has changed.
 * @param {() => unknown} saying Fails where who is to hear it is not there yet.
 */
const announce = (saying) => {
  sayings.push(saying);
  safely(saying);
};
/**
 * @param {string} whose Vendors, each with the first letter of its category, or that letter alone.
 * @param {any} [letters] Only of these categories.
 */
const verdict = (whose, letters) =>
  words(whose).some((vendor) => refuses(vendor) || letters && !letters.includes(vendor[0])) ? "denied" : "granted";

addEventListener("DOMContentLoaded", announceAll);
heed("withdraw", announceAll);
heed("change", () => {
  announceAll();
  // What was held comes with the next picture, and may hold consent back itself.
  requestAnimationFrame(() => restored.then(announceAll));
});
