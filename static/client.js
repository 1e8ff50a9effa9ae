// Makes a choice take effect without a reload: sends the banner's forms, and gives back what was held.
//
// Goes on where guard.js ends, in the same block. Where it fails, the forms do their work as without it.

const endpoint = new URL("../choice", tag.src).pathname;
// 1 while a choice is being sent, 2 when the forms are to do their work themselves.
let sending = 0;

// What somebody allows from now on. Tells whether anything is refused, or allowed, that was not.
/** @param {string} allowed */
const take = (allowed) => {
  const before = vendors.map(refuses);
  state = words(allowed);
  return (/** @type {boolean} */ now) => vendors.some((vendor, at) => refuses(vendor) == now && before[at] != now);
};
// Other pages of the site that are open stop what was taken back; what the browser kept to go back to, it drops then.
const channel = new BroadcastChannel(endpoint);
channel.onmessage = (event) => {
  if (take(event.data)(true)) location.reload();
};

/**
 * Gives back what of `places` is allowed, scripts one after another: templates, and the placeholders of embeds. What
 * else has such an attribute is the page's own.
 * @param {Iterable<any>} [places] All that there are.
 */
const restore = async (places = document.querySelectorAll("template[data-consent],.consent-embed")) => {
  /** @type {(() => Promise<unknown>)[]} */
  const last = [];
  for (const place of places) {
    if (!specs(place).every((spec) => allows(...spec))) continue;
    const content = (place.querySelector("template") || place).content;
    const first = content.firstElementChild;
    const scripts = [...content.querySelectorAll("script")].map((old) => {
      const mark = document.createComment("");
      old.replaceWith(mark);
      const run = () =>
        new Promise((done) => {
          // Made anew: one that came by a parser without a page, as in a fetched piece of a page, would never run.
          const script = document.createElement("script");
          for (const attribute of old.attributes) script.setAttributeNode(attribute.cloneNode());
          script.nonce = old.nonce;
          script.text = old.text;
          script.async = old.hasAttribute("async");
          script.onload = script.onerror = done;
          mark.replaceWith(script);
          if (!script.src || script.async || script.noModule) done(0);
        });
      return old.type == "module" || old.defer && old.src ? () => last.push(run) : run;
    });
    const focused = place.contains(document.activeElement);
    place.replaceWith(content);
    if (focused) first?.focus();
    for (const run of scripts) await run();
  }
  for (const run of last) await run();
};

/** @param {any} place @returns {[string, string][]} */
const specs = (place) => words(place.dataset.consent).map((/** @type {any} */ spec) => spec.split("/"));

addEventListener("submit", async (event) => {
  /** @type {any} */
  const form = event.target;
  /** @type {any} */
  const button = event.submitter;
  if (sending > 1 || event.defaultPrevented || !button?.name || form.getAttribute("action") != endpoint) return;
  event.preventDefault();
  if (sending) return;
  sending = 1;
  /** @type {any} */
  let outcome;
  try {
    /** @type {any} */
    const data = new FormData(form, button);
    const answer = await fetch(endpoint, {
      method: "POST",
      headers: { accept: "application/json" },
      body: new URLSearchParams(data),
    });
    outcome = answer.ok && await answer.json();
  } catch {}
  sending = outcome ? 0 : 2;
  if (!outcome) return form.requestSubmit(button);
  const changes = take(outcome.allowed);
  channel.postMessage(outcome.allowed);
  // What runs cannot be taken back, and what the server kept out is not here to be put back.
  const missing = document.querySelector(".consent-missing");
  if (
    changes(true) ||
    (changes(false) && !document.querySelector("template[data-consent]")) ||
    (missing && specs(missing).some((spec) => allows(...spec)))
  )
    return location.reload();
  /** @type {any} */
  const root = document.querySelector("section.consent-root");
  if (root) {
    for (const part of root.querySelectorAll(".consent-banner,.consent-clearance")) part.remove();
    root.querySelector("[popover]").hidePopover();
    for (const input of root.querySelectorAll(".consent-switch")) input.checked = allows(input.name);
    const status = root.querySelector("[data-saved]");
    status.textContent = status.dataset.saved;
    if (!button.closest("[data-consent]")) root.querySelector(".consent-pill").focus();
  }
  ignore();
  document.dispatchEvent(new Event("consent:change"));
  restore();
});

addEventListener("click", (event) => {
  /** @type {any} */
  const target = event.target;
  const place = target.closest("[data-consent-once]")?.closest("[data-consent]");
  if (!place) return;
  // For as long as this page is open.
  for (const spec of specs(place))
    if (!allows(...spec)) {
      const at = state.indexOf(spec[1], 1);
      at > 0 ? state.splice(at, 1) : state.push(spec[1]);
    }
  restore([place]);
});

page.consent = { allows: allows };
