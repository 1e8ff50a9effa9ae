// Google Consent Mode: first what silence allows, then what the visitor said. GOOGLE has the signals, and whose answers
// make them; REGIONS where silence allows nothing; GOOGLE_SETTINGS what is set besides.

/** @param {any} [letters] */
const googleSignals = (letters) => {
  /** @type {any} */
  const values = { security_storage: "granted" };
  for (const [names, whose] of GOOGLE) for (const name of words(names)) values[name] = verdict(whose, letters);
  return values;
};
/** @type {IArguments[]} */
const commands = [];
// Google tells its commands from other entries by their kind.
/** @type {any} */
const gtag = function () {
  (page.dataLayer ||= []).push(arguments);
  commands.push(arguments);
};
// A page may begin with a list of its own, which must not make Google forget what it was told.
safely(() => {
  let layer = page.dataLayer;
  Object.defineProperty(page, "dataLayer", {
    configurable: true,
    enumerable: true,
    get: () => layer,
    set: (list) => {
      if (list != layer) safely(() => list.unshift(...commands));
      layer = list;
    },
  });
});
const first = googleSignals(silent);
let googleTold = JSON.stringify(first);
safely(() => {
  gtag("consent", "default", first);
  if (REGIONS[0] && silent[0]) gtag("consent", "default", { ...googleSignals([]), region: REGIONS });
  for (const name of GOOGLE_SETTINGS) gtag("set", name, true);
});
announce(() => {
  const values = googleSignals();
  const text = JSON.stringify(values);
  if (text != googleTold) gtag("consent", "update", values);
  googleTold = text;
});
