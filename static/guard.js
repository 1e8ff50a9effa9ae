// Keeps in the browser what the server cannot see: what scripts add, send and store for vendors that are refused.
//
// The server puts this file first into <head>, as the beginning of one block, with its TABLE in it (made by
// consent/guard.py) and client.js behind it. What this visitor allows is on the tag. A refused URL is replaced by
// one that fails by itself, so that the page sees what it would see if the network failed: the same events, the
// same rejected promises. A call that means nothing to us, however odd its arguments, reaches the browser as made.
//
// consent/minify.py relies on this much style: every statement ends with its semicolon or brace; no templates, no
// division, no shorthand properties, no destructuring of objects.

/** @typedef {string} Vendor The first letter of its category, and its id. */
/** @typedef {(self: any, args: any[], native?: any) => unknown[] | false | void} Before */

const INERT = "about:invalid";
/** @type {any} */
const tag = document.currentScript;
/** @type {any} */
const page = window;
const words = (text = "") => text.split(" ");
let categories = " " + tag.dataset.allowed;
// Vendors whose answer differs from their category's.
let exceptions = new Set(words(tag.dataset.vendors));

/** @param {string} category @param {string} [id] */
const allows = (category, id = " ") =>
  category[0] == "s" || categories.includes(" " + category[0]) != exceptions.has(id);
/** @param {Vendor} [vendor] */
const refuses = (vendor) => vendor && !allows(vendor, vendor.slice(1));

// The table: by host, what begins its URLs; by "." and host, that the whole host is somebody's; cookies, keys, and
// functions.
/** @type {Set<Vendor>} */
const vendors = new Set();
/** @type {Record<string, [string, Vendor, RegExp?][]>} */
const rules = {};
for (const line of TABLE.split("\n")) {
  const [vendor, ...lists] = line.split("\t\t");
  vendors.add(vendor);
  lists.forEach((list, kind) => {
    for (const rule of list.match(/[^\t]+/g) || []) {
      const at = kind ? 0 : (rule + "/").indexOf("/");
      const source = rule.slice(at);
      (rules[kind || (source ? "" : ".") + rule.slice(0, at)] ||= []).push([source, vendor]);
    }
  });
}
/** @param {string | number} list @param {string} text */
const find = (list, text) => rules[list]?.find((rule) => (rule[2] ||= RegExp("^" + rule[0])).test(text))?.[1];

// The three questions, answered as consent/catalog/matching.py answers them.
/** @param {unknown} value */
const refused = (value) => {
  let url;
  try {
    url = new URL(String(value), document.baseURI);
  } catch {
    return;
  }
  let host = url.hostname.replace(/\.$/, "");
  if (!/^(http|ws)/.test(url.protocol) || host == location.hostname) return;
  // One spelling of each path, as in consent/html/urls.py.
  const path = url.pathname.replace(/%(2[de]|3\d|[46][1-9a-f]|[57][\da]|5f|7e)/gi, unescape);
  let owner;
  for (; host; host = host.replace(/^[^.]*\.?/, "")) {
    const vendor = find(host, path + url.search);
    if (vendor) return refuses(vendor);
    owner ||= find("." + host, "");
  }
  return refuses(owner);
};
/** @param {any} text */
const refusedCookie = (text) => refuses(find(1, String(text).split("=")[0].trim()));
/** @param {any} text */
const refusedKey = (text) => refuses(find(2, String(text)));

// What holds URLs: style, attributes, markup. Each returns the very `value` where there is nothing to refuse.
/** @param {any} value */
const css = (value) =>
  String(value).replace(
    /((?:url|src)\(\s*|@import\s*(?!url)|[(,]\s*)(["']?)([^\s"'()]+)/gi,
    (text, lead, quote, url) => refused(url) ? lead + quote + INERT : text,
  );

// Five that hold one URL, three that hold several, a page, and style.
const ATTRIBUTES = words("src href data poster background srcset imagesrcset ping srcdoc style");
/** @param {any} element @param {string} name @param {any} value */
const judged = (element, name, value) => {
  const kind = ATTRIBUTES.indexOf(name.toLowerCase().replace("xlink:", ""));
  // Links lead where the visitor goes, and elements of a page's own make are judged by what they are made of.
  if (kind < 0 || (kind < 5 && /-|^a(rea)?$/.test(element.localName))) return value;
  const text = String(value);
  const clean =
    kind > 8
      ? css(text)
      : kind > 7
        ? markup(text)
        : // A candidate of a srcset ends with white space, or behind its descriptor with a comma.
          text.split(kind > 4 ? /(?:^|\s)[\d.]+[wx],|,*\s+,*|,+$/ : INERT).some(refused)
          ? INERT
          : text;
  return clean == text ? value : clean;
};

/**
 * Takes what is refused out of elements made elsewhere, and tells whether there was any.
 * @param {any} root @returns {boolean}
 */
const scrub = (root) => {
  let changed = false;
  for (const element of [root, ...root.querySelectorAll("*")]) {
    if (element.localName == "template") changed = scrub(element.content) || changed;
    const slots = [...(element.attributes || [])];
    if (isStyle(element)) slots.push(...element.childNodes);
    for (const slot of slots) {
      const clean = slot.data ? css(slot.data) : judged(element, slot.name, slot.value);
      if (clean != slot.nodeValue) {
        slot.nodeValue = clean;
        changed = true;
      }
    }
  }
  return changed;
};

/** @type {any} */
const setMarkup = Object.getOwnPropertyDescriptor(Element.prototype, "innerHTML")?.set;
/** @param {any} value */
const markup = (value) => {
  const text = String(value);
  // Most markup names no other host, and is not parsed twice.
  if (!/\/\/|[\\&]|ps?:/i.test(text)) return value;
  const box = document.createElement("template");
  setMarkup.call(box, text);
  return scrub(box.content) ? box.innerHTML : value;
};
/** @param {any} node */
const isStyle = (node) => node?.localName == "style";

// What scripts call.

/**
 * Puts `before` ahead of a method, a constructor, a setter, or the getter of what cannot be set. It may change the
 * arguments, or end the call by returning its result in a list.
 * @param {any} object @param {string} names @param {Before} before
 */
const hook = (object, names, before) => {
  /** @param {any} native @param {any} self @param {any[]} args @param {any} [made] @returns {any} */
  const run = (native, self, args, made) => {
    let end;
    try {
      end = before(self, args, native);
    } catch {}
    return end ? end[0] : made ? Reflect.construct(native, args, made) : native.apply(self, args);
  };
  for (const name of words(names)) {
    /** @type {any} */
    const property = Object.getOwnPropertyDescriptor(Object(object), name);
    const slot = property?.set ? "set" : property?.get ? "get" : "value";
    if (property?.configurable) {
      property[slot] = new Proxy(property[slot], {
        apply: run,
        construct: (native, args, made) => run(native, 0, args, made),
      });
      Object.defineProperty(object, name, property);
    }
  }
};

/** @param {number} at @param {string} [instead] @returns {Before} */
const address = (at, instead = INERT) => (self, args) => {
  if (refused(args[at]?.url ?? args[at])) args[at] = instead;
};
/** @param {number} at @returns {Before} */
const attribute = (at) => (self, args) => {
  if (args[at + 1] != null) args[at + 1] = judged(self, args[at], args[at + 1]);
};
/** @type {Before} */
const html = (self, args) => {
  if (self.writeln) args.splice(0, args.length, args.join(""));
  args.forEach((value, at) => (args[at] = (isStyle(self) ? css : markup)(value)));
};
/** @type {Before} */
const styles = (self, args) => {
  args.forEach((value, at) => typeof value == "string" && (args[at] = css(value)));
};
/** @type {Before} */
const nodes = (self, args) => {
  // What was made in this document was judged when it was made.
  for (const node of args) if (node?.ownerDocument && node.ownerDocument != document) scrub(node);
  if (isStyle(self) || isStyle(self.parentNode)) {
    for (const node of args) if (node?.data) node.data = css(node.data);
    styles(self, args);
  }
};

/** @type {[string, string, Before][]} */
const HOOKS = [
  ["Element", "setAttribute", attribute(0)],
  ["Element", "setAttributeNS", attribute(1)],
  ["Element", "setAttributeNode setAttributeNodeNS", (self, args) => {
    args[0].value = judged(self, args[0].name, args[0].value);
  }],
  ["Attr", "value", (self, args) => {
    args[0] = judged(self.ownerElement, self.name, args[0]);
  }],
  ["Element ShadowRoot Range Document", "innerHTML outerHTML setHTMLUnsafe insertAdjacentHTML createContextualFragment write writeln", html],
  [
    "Node Element CharacterData Document DocumentFragment Range",
    "appendChild insertBefore replaceChild append prepend before after replaceWith replaceChildren insertAdjacentElement insertNode importNode adoptNode textContent nodeValue data appendData",
    nodes,
  ],
  ["CSSStyleSheet CSSGroupingRule CSSStyleDeclaration", "insertRule addRule replace replaceSync setProperty cssText", styles],
  ["SVGAnimatedString", "baseVal", address(0)],
  ["XMLHttpRequest", "open", address(1)],
  ["Navigator", "sendBeacon", (self, args) => refused(args[0]) && [true]],
  ["HTMLFormElement", "submit", (self) => refused(self.getAttribute("action")) && [0]],
  // A cookie that is being deleted may be.
  [
    "Document CookieStore",
    "cookie set",
    (self, args) =>
      !/max-age=[-0]|1970/i.test(args[0]) && refusedCookie(args[0].name ?? args[0]) && [Promise.resolve()],
  ],
  ["Storage", "setItem", (self, args) => refusedKey(args[0]) && [0]],
  // No database has the version 0: the page is told that it cannot be opened.
  ["IDBFactory", "open", (self, args) => {
    if (refusedKey(args[0])) args[1] = 0;
  }],
  // A frame without a document of its own would be a way around.
  ["HTMLIFrameElement", "contentWindow contentDocument", (self, args, native) => {
    const inner = native.call(self);
    guard(inner.defaultView || inner);
  }],
];

const guarded = new WeakSet();
/** @param {any} realm */
const guard = (realm) => {
  if (guarded.has(realm.Node)) return;
  guarded.add(realm.Node);
  for (const entry of HOOKS) for (const type of words(entry[0])) hook(realm[type]?.prototype, entry[1], entry[2]);
  for (const type of Object.getOwnPropertyNames(realm))
    if (/^(HTML.*|SVG)Element$/.test(type))
      for (const name of ATTRIBUTES)
        hook(realm[type].prototype, name, (self, args) => {
          args[0] = judged(self, name, args[0]);
        });
  hook(realm, "fetch EventSource Audio", address(0));
  hook(realm, "FontFace", styles);
  // A port that browsers do not connect to.
  hook(realm, "WebSocket WebTransport", address(0, "https://localhost:1"));
  // Where styles are no properties of a prototype: before anything is drawn.
  new MutationObserver((records) => {
    for (const record of records) {
      /** @type {any} */
      const element = record.target;
      const text = element.style.cssText;
      if (css(text) != text) element.style = text;
    }
  }).observe(realm.document, { subtree: true, attributeFilter: ["style"] });
};

// Takes away what refused vendors stored before, under every Domain and Path it can have.
const clear = () => {
  try {
    for (const cookie of words(document.cookie))
      if (refusedCookie(cookie))
        for (let path = location.pathname; ; path = path.replace(/.[^/]*$/, "")) {
          for (let host = location.hostname; ; host = host.replace(/^[^.]*\.?/, "")) {
            document.cookie = cookie.split("=")[0] + "=;max-age=0;path=" + (path || "/") + ";domain=" + host;
            if (!host) break;
          }
          if (!path) break;
        }
    for (const area of [localStorage, sessionStorage])
      for (const key in area) if (refusedKey(key)) area.removeItem(key);
    indexedDB.databases().then((/** @type {any[]} */ found) => {
      for (const base of found) if (refusedKey(base.name)) indexedDB.deleteDatabase(base.name);
    });
  } catch {}
};

// The site's own code may call what a refused vendor's snippet would have defined: nothing happens then. Whoever may
// define it finds no such name.
const ignored = () => {};
const ignore = () => {
  for (const [name] of rules[3] || []) {
    const mute = rules[3].every((rule) => rule[0] != name || refuses(rule[1]));
    if (page[name] == ignored && !mute) delete page[name];
    if (mute && !(name in page)) page[name] = ignored;
  }
};

if ([...vendors].some(refuses)) {
  ignore();
  guard(window);
  // Not before the page is there: it takes its time, and nobody who is refused is there to see.
  addEventListener("load", clear);
  addEventListener("pagehide", clear);
}
