// What the site's own scripts can ask and do: `window.consent`. And the beginning of it all.
//
// Goes last, in the same block. Its types are in consent.d.ts.

/** @param {any} name @param {any} run */
const heed = (name, run) => own.addEventListener("consent:" + name, run);
/** @param {string} action @param {any} [choice] */
const choose = (action, choice) =>
  send(new Blob([JSON.stringify({ ...choice, action: action })], { type: "application/json" }));

page.consent = {
  accept: () => choose("accept"),
  refuse: () => choose("refuse"),
  withdraw: () => choose("withdraw"),
  allows: answer,
  set: (/** @type {any} */ choice) => choose("save", choice),
  open: () => {
    try {
      preferences().showPopover();
    } catch {
      page.location = endpoint + "s";
    }
  },
  on: async (/** @type {any} */ name, /** @type {any} */ run) => {
    heed(name, run);
    if (own.readyState != "loading" && name == "ready") run();
  },
  when: async (/** @type {[any]} */ ...spec) => {
    while (!answer(...spec)) await new Promise((done) => heed("change", done));
  },
};

if (state != "pft") {
  ignore();
  guard(page);
  // Not before the page is there and drawn: it takes its time, and nobody who is refused is there to see.
  addEventListener("load", () => requestAnimationFrame(() => requestAnimationFrame(clear)));
  addEventListener("pagehide", clear);
}
addEventListener("DOMContentLoaded", () => {
  arrange();
  tell("ready");
});
new MutationObserver(arrange).observe(document, { subtree: true, childList: true });
