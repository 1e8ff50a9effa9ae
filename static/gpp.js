// What scripts of the advertising industry ask of a page: `__gpp`, as the IAB's Global Privacy Platform has it (GPP CMP
// API 1.1).
//
// A block of its own, behind the guard's tag and before everything else in <head>. All that it can answer was made by the
// server (consent/gpp.py), and is here as ANSWERS; which of it holds now is found out from the tag, and from what the
// guard allows. However odd a call, it throws nothing and returns nothing.

const LOCATOR = "__gppLocator";
/** Listeners at a time: any frame can ask for more. */
const MOST = 999;
/** @type {any} */
const page = window;
/** @type {any} */
const browser = navigator;
/** @type {any} */
const tag = Reflect.get(Document.prototype, "currentScript", document);
/** 1: somebody opted out, 2: the browser sends Global Privacy Control. */
const given = +tag.dataset.state;
// Before a script of the page can put another one in its place.
const allows = page.consent?.allows;
/** The section, the vendors whose refusal is an opt-out, what does not change, and what does: by the two bits above. */
/** @type {any[]} */
const [section, vendors, always, states] = JSON.parse(ANSWERS);

const now = () =>
  (allows
    ? +!(allows("targeting") && vendors.every((/** @type {string} */ id) => allows("targeting", id)))
    : given & 1) +
  (given > 1 || browser.globalPrivacyControl ? 2 : 0);
let at = now();
/** @type {any} */
const status = {
  gppVersion: "1.1",
  cmpStatus: "loaded",
  cmpDisplayStatus: section ? "hidden" : "disabled",
  signalStatus: section && "asks" in tag.dataset ? "not ready" : "ready",
};
// Made anew each time: what one script does to it is nothing to another.
const ping = () => ({ ...JSON.parse(always), ...JSON.parse(states[at]), ...status });
/** @param {any} name @returns {any[]} */
const parts = (name) => new Map(Object.entries(ping().parsedSections)).get(name);

/** @param {any} run @param {unknown} data @param {boolean} success */
const answer = (run, data, success) => {
  try {
    if (run) run(data, success);
  } catch (error) {
    page.reportError?.(error);
  }
};
/** @param {string} name @param {unknown} data @param {number} id @param {any} run */
const tell = (name, data, id, run) =>
  answer(run, { eventName: name, listenerId: id, data: data, pingData: ping() }, true);

/** @type {Map<any, any>} */
const listeners = new Map();
let last = 0;
/** @param {string} name @param {unknown} data */
const fire = (name, data) => {
  for (const [id, run] of [...listeners]) tell(name, data, id, run);
};

/** @type {Map<any, (run: any, parameter: any) => void>} */
const commands = new Map([
  ["ping", (run) => answer(run, ping(), true)],
  ["addEventListener", (run) => {
    const room = run && listeners.size < MOST;
    if (room) listeners.set(++last, run);
    tell("listenerRegistered", !!room, room ? last : 0, run);
  }],
  ["removeEventListener", (run, id) => answer(run, listeners.delete(id), true)],
  ["hasSection", (run, name) => answer(run, !!parts(name), true)],
  ["getSection", (run, name) => {
    const found = parts(name);
    answer(run, found || null, !!found);
  }],
  ["getField", (run, path) => {
    const [name, field] = String(typeof path == "string" ? path : "").split(".");
    const found = new Map(parts(name)?.flatMap((/** @type {any} */ part) => Object.entries(part)));
    answer(run, found.get(field) ?? null, found.has(field));
  }],
]);
/** The message that is being answered already, by whoever was there before. @type {any} */
let answered;
/** @param {any} command @param {any} run @param {any} parameter */
const call = (command, run, parameter) => {
  answered = page.event;
  if (typeof run != "function") run = 0;
  const does = commands.get(command) || ((run) => answer(run, null, false));
  does(run, parameter);
};

// A stub that was here first may have been asked already.
const stub = page.__gpp;
page.__gpp = call;
// What exchanges a page's body alone may run the next page's tag in this one: consent/gpp.py has it do nothing then.
page.__gpp.isHere = true;
try {
  for (const event of [...stub.events || []].slice(0, MOST)) {
    last = Math.max(last, +event.id || 0);
    if (typeof event.callback == "function") listeners.set(event.id, event.callback);
  }
} catch {}
try {
  for (const args of stub.queue) call(args?.[0], args?.[1], args?.[2]);
} catch {}

// Frames of others ask by messages. They find this window by a frame of that name in it.
addEventListener("message", (event) => {
  const isText = typeof event.data == "string";
  /** @type {any} */
  let asked;
  try {
    asked = isText ? /"__gppCall"/.test(event.data) && JSON.parse(event.data) : event.data;
    asked = asked.__gppCall;
  } catch {}
  if (!asked || answered == event) return;
  /** @type {any} */
  const frame = event.source;
  call(asked.command, (/** @type {any} */ data, /** @type {any} */ success) => {
    const reply = { __gppReturn: { returnValue: data, success: success, callId: asked.callId } };
    frame.postMessage(isText ? JSON.stringify(reply) : reply, "*");
  }, asked.parameter);
});
new MutationObserver((_, observer) => {
  if (!document.body) return;
  observer.disconnect();
  if (page.frames[LOCATOR]) return;
  const frame = document.createElement("iframe");
  frame.name = LOCATOR;
  frame.style.display = "none";
  // Behind the body: nothing in it has another place by that, and it stays where the body becomes another one.
  document.documentElement.append(frame);
}).observe(document, { subtree: true, childList: true });

// Whether the preferences are open.
let open = false;
/** @param {string} name @param {string} value */
const set = (name, value) => {
  if (status[name] == value) return;
  status[name] = value;
  fire(name, value);
};
// In the order that listeners count on: first that something changes, last that nothing does any more.
const look = () => {
  const next = now();
  const shown = open || document.querySelector(".consent-banner");
  if (shown || next != at) set("signalStatus", "not ready");
  set("cmpDisplayStatus", shown ? "visible" : "hidden");
  if (next != at) {
    at = next;
    fire("sectionChange", section);
  }
  if (!shown) set("signalStatus", "ready");
};
if (section) {
  addEventListener("DOMContentLoaded", look);
  document.addEventListener("consent:change", look);
  // The page is loaded anew then: until it is gone, nobody is to act on what was.
  document.addEventListener("consent:withdraw", look);
  document.addEventListener("toggle", (/** @type {any} */ event) => {
    if (!event.target.matches(".consent-preferences")) return;
    open = event.newState == "open";
    look();
  }, true);
}
