// Makes a choice take effect without a reload: sends the banner's forms, and gives back what was held.
//
// Goes on where guard.js ends, in the same block. Where it fails, the forms do their work as without it. Lines that end
// with "for one visitor" are left out where everybody gets the same page: it lacks nothing that another would have, and
// the script of it knows from the beginning what is needless.

const endpoint = new URL("../choice", tag.src).pathname;
// What was chosen last, and is under way; 1 when the forms are to do their work themselves.
/** @type {any} */
let chosen;
// The choice before the next, which has to be through first.
/** @type {any} */
let turn;
// What of ours the page need not show any more, wherever it comes from.
/** @type {any} */
let needless;

/** @param {any} place @returns {[string, string][]} */
const specs = (place) => words(place.dataset.consent).map((/** @type {any} */ spec) => spec.split("/"));
// As others ask: by names.
const CATEGORIES = words("strictly-necessary performance functional targeting");
/** @param {any} category @param {any} [vendor] */
const answer = (category, vendor) => CATEGORIES.includes(category) && allows(category, vendor);
/** @returns {any} */
const preferences = () => own.querySelector(".consent-preferences");
/** @param {string} name */
const tell = (name) => own.dispatchEvent(new Event("consent:" + name));

/**
 * Gives back what of `places` is allowed, scripts one after another: templates, and the placeholders of embeds. What
 * else has such an attribute is the page's own.
 * @param {Iterable<any>} places @param {unknown} [all] Whether not only what is allowed.
 */
const restore = async (places, all) => {
  /** @type {(() => Promise<unknown>)[]} */
  const last = [];
  for (const place of places) {
    if (all || specs(place).every((spec) => answer(...spec))) {
    const content = (place.querySelector("template") || place).content;
    const first = content.firstElementChild;
    const scripts = [...content.querySelectorAll("script")].map((old) => {
      // Made anew: one that came by a parser without a page, as in a fetched piece of a page, would never run.
      const script = own.createElement("script");
      for (const attribute of old.attributes) script.setAttributeNode(attribute.cloneNode());
      script.nonce = old.nonce;
      script.text = old.text;
      script.async = old.attributes.async;
      // Until its turn comes the old one stands there, and is none that would run.
      old.type = "-";
      const run = () =>
        new Promise((done) => {
          script.onerror = script.onload = done;
          old.replaceWith(script);
          if (!script.src || script.async || script.noModule) done();
        });
      return script.type == "module" || script.defer && script.src ? () => last.push(run) : run;
    });
    const focused = place.contains(own.activeElement);
    place.replaceWith(content);
    focused && first?.focus();
    for (const run of scripts) await run();
    }
  }
  for (const run of last) await run();
};
// What comes later waits for what came before.
let restored = Promise.resolve();
// However much changes: once for each picture that is drawn.
let due;
const arrange = () => {
  if (needless) { // for one visitor
    for (const part of own.querySelectorAll(needless)) part.remove();
    // @ts-expect-error: they are inputs.
    for (const input of own.querySelectorAll(".consent-switch")) input.defaultChecked = allows(input.name);
  } // for one visitor
  due ||= requestAnimationFrame(() => {
    due = 0;
    // Not before the page is there: what is in a template may not be.
    if (own.readyState != "loading")
      restored = restored.then(() =>
        restore(own.querySelectorAll(".consent-embed[data-consent],template[data-consent]")),
      );
  });
};

/**
 * Takes over what somebody allows from now on. What runs cannot be taken back, and what the server kept out is not here
 * to be put back: then the page is loaded anew, and nothing is returned.
 * @param {string} allowed @param {unknown} [here] Whether the choice was made in this page.
 */
const take = (allowed, here) => {
  // What is no vendor among them never changes, or with a category.
  const before = words(table).map(refuses);
  state = words(allowed);
  const changes = words(table).map((vendor, at) => refuses(vendor) - before[at]);
  if (
    changes.includes(1) && tell("withdraw") ||
    here &&
      (changes.includes(-1) && !own.querySelector("template[data-consent]")
        || [...own.querySelectorAll(".consent-missing")].flatMap(specs).some((spec) => answer(...spec)) // for one visitor
      )
  ) {
    // What is pressed until it has gone goes before it.
    chosen = 1;
    return location.reload();
  }
  ignore();
  needless = ".consent-banner";
  arrange();
  return tell("change");
};
// Other pages of the site that are open follow; what the browser kept to go back to, it drops then.
const channel = new BroadcastChannel(endpoint);
channel.onmessage = (/** @type {any} */ event) => take(event.data);

/**
 * Sends a choice when those before it are through, and lets it take effect where none was made since.
 * @param {any} body @param {any} [button] What was pressed. @param {any} [before]
 */
const send = (body, button, before = turn) => turn = (async () => {
  /** @type {any} */
  let outcome;
  chosen = body;
  await before;
  try {
    const response = await fetch(endpoint, { method: "POST", headers: { accept: "application/json" }, body: body });
    if (response.ok) outcome = await response.json();
  } catch {}
  if (outcome && chosen == body) {
    chosen = 0;
    channel.postMessage(outcome.allowed);
    const panel = take(outcome.allowed, 1) && preferences();
    if (panel) {
      panel.hidePopover?.();
      panel.querySelector("form").reset();
      for (const status of own.querySelectorAll("[data-saved]")) status.textContent = status.dataset.saved;
      if (button?.name == "action") own.querySelector(".consent-pill").focus();
    }
  }
  return outcome;
})();

// Ahead of all others, who send forms in their own way.
addEventListener("submit", async (event) => {
  /** @type {any} */
  const form = event.target;
  /** @type {any} */
  const button = event.submitter;
  if (chosen == 1 || !button?.name || bare(form).getAttribute("action") != endpoint) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  /** @type {any} */
  // @ts-expect-error: there are no files in it.
  const body = new URLSearchParams(new FormData(form, button));
  // Not what is under way already.
  if (chosen != String(body) && !(await send(body, button)) && chosen == body) {
    chosen = 1;
    form.requestSubmit(button);
  }
}, true);

addEventListener("click", (event) => {
  /** @type {any} */
  const target = event.target;
  const place = bare(target).closest?.("[data-consent-once]")?.closest("[data-consent]");
  if (place) {
    for (const spec of specs(place)) state.push("+" + spec[1]);
    restore([place], 1);
  }
});
