// Keeps in the browser what the server cannot see: what scripts add, send and store for vendors that are refused.
//
// The server puts this file first into <head>, as the beginning of one block, with its TABLE in it (made by
// consent/guard.py) and the other files behind it. What this visitor allows is on the tag. A refused URL is replaced by
// one that fails by itself, so that the page sees what it would see if the network failed: the same events, the
// same rejected promises. A call that means nothing to us, however odd its arguments, reaches the browser as made.
//
// consent/minify.py relies on this much style: every statement ends with its semicolon or brace; no templates, no
// division, no shorthand properties, no destructuring of objects.

/** @typedef {string} Vendor The first letter of its category, and its id. */
/** @typedef {(self: any, args: any[], at: number, name: string) => unknown[] | false | void} Before */

const INERT = "about:invalid";
/** @type {any} */
const tag = Reflect.get(Document.prototype, "currentScript", document);
/** @type {any} */
const page = window;
const words = (/** @type {string} */ text) => text.split(" ");
// The first letters of the categories that are allowed, then the vendors whose answer differs from their category's, and
// behind a "+" those that the visitor lets through in this page alone.
/** @type {any[]} */
let state = words(tag.dataset.allowed);
// Where it was put in, the page's own rules of style may count elements.
tag.remove();
/**
 * What the browser itself has of a node, to be read, whatever names the page has given to a picture, a form or a field
 * in it.
 * @param {any} node @returns {any}
 */
const bare = (node) =>
  new Proxy(node, {
    get: (node, name) => {
      const value = Reflect.get(Reflect.getPrototypeOf(node), name, node);
      return typeof value == "function" ? value.bind(node) : value;
    },
  });
const own = bare(document);

/** @param {string} category @param {any} [id] */
const allows = (category, id) =>
  category[0] == "s" || state[0].includes(category[0]) != state.includes(id, 1);
/** @param {Vendor} [vendor] @returns {any} */
const refuses = (vendor) => vendor && !state.includes("+" + vendor.slice(1)) && !allows(vendor, vendor.slice(1));

// The table is searched where something is asked, and never read as a whole. Each word in it stands between blanks: the
// rules of a vendor, and then the vendor. With "=" begin cookies, with "#" keys, with "(" functions, with their host
// URLs; a host that is somebody's as a whole has nothing behind it.
const table = TABLE;
// By word: of a host nobody knows hardly anything is kept, however many are asked for.
/** @type {Record<string, any[][]>} */
const known = {};
/**
 * Returns the rules that begin with one of `places` and one of `ends`: an expression from that end on, its first
 * letters, and whose it is.
 * @param {string[]} places
 */
const rules = (places, ends = [""]) =>
  ends.flatMap((end) =>
    places.flatMap((place) => {
      const word = " " + place + end;
      let found = known[word];
      if (!found) {
        found = known[word] = [];
        for (let at = 0; (at = table.indexOf(word, at) + 1); )
          found.push(/((\/?\w*)\S*).*? ([\w-]+) /.exec(table.slice(at + place.length)));
      }
      return found;
    }),
  );
/** @param {string} text @param {string[]} places @param {string[]} [ends] @returns {Vendor} */
const find = (text, places, ends) =>
  // Most are told apart by their first letters.
  rules(places, ends).find(
    (rule) => text.startsWith(rule[2]) && RegExp("^" + rule[1]).test(text),
  )?.[3];

// The three questions, answered as consent/catalog/matching.py answers them.
/** @param {string} text @param {RegExp} part What is taken away each time. @returns {string[]} */
const shorter = (text, part) => text ? [text, ...shorter(text.replace(part, ""), part)] : [""];
const LABEL = /^[^.]*\.?/;
/** @param {any} value */
const refused = (value) => {
  let url;
  try {
    url = new URL(value, tag.baseURI);
  } catch {
    return;
  }
  // One spelling of each path, as in consent/html/urls.py.
  const path = url.pathname.replace(/%(2[de]|3\d|[4-7].)/gi, unescape);
  // Of the page's own host only what is somebody's on every host.
  const host = url.hostname == location.hostname ? "" : url.hostname.replace(/\.$/, "");
  return refuses(find(path + url.search, shorter(host, LABEL), ["/", " "]));
};
/** @param {unknown} url */
const inert = (url) => refused(url) ? INERT : url;
// Where no visitor asked for it.
/** @param {unknown} url */
const unasked = (url) => refused(url) && !navigator.userActivation.isActive;
/** @param {any} text */
const refusedCookie = (text) => refuses(find(String(text).split("=")[0].trim(), ["="]));
/** @param {any} text */
const refusedKey = (text) => refuses(find(String(text), ["#"]));

// What holds URLs: style, code, attributes, markup. Each returns the very `value` where there is nothing to refuse, but
// what stands for a text, so that it is asked for it once.
/** @param {any} value */
const plain = (value) => Object(value) === value && !trustee(value) ? String(value) : value;
/** @param {any} value */
const trustee = (value) => /^Trusted(.*)/.exec(value?.[Symbol.toStringTag]);
/** @param {RegExp} urls What stands before a URL, a quote, and the URL. @returns {(value: any, script?: any) => string} */
const cleaner = (urls) => (value, script) =>
  String(value).replace(urls, (text, lead, quote, url) =>
    lead || /map|rul|bun/.test(script.type) ? lead + quote + inert(url) : text,
  );
const css = cleaner(/((?:url|src)\(\s*|@import\s*(?!url)|[(,]\s*)(\\?["']?)([^\s"'()\\]+)/gi);
// Modules of scripts, which nothing else can refuse, and each URL of import maps, rules and bundles.
const code = cleaner(/(\b(?:import|from)[\s(]*|)(["'])([^\s"']+)/g);
/** @param {any} node @returns {any} */
const judge = (node) => /** @type {any} */ ({ style: css, script: code })[node?.localName];

// Those that hold one URL, those that hold more, a page, and style; in SVG that are masks and markers, too.
const ATTRIBUTES = /^((\w*:?href|data|poster|background|src)|(.*srcset|ping|from|to|values|attr.*c)|(srcdoc)|style|cursor|fill|stroke|clip.*|m.*k.*)$/i;
/** @param {any} element @param {string} name @param {any} value */
const judged = (element, name, value) => {
  const [known, , one, several, inner] = ATTRIBUTES.exec(name) || [];
  // Links lead where the visitor goes, and elements of a page's own make are judged by what they are made of.
  if (!known || one && /-|^a(rea)?$/.test(element.localName)) return value;
  value = plain(value);
  // As browsers read an address, and nothing else: a "java\tscript:" is one.
  const text = String(value).replace(one ? /^[\0- ]+|[\t\n\r]/g : "", "");
  const clean =
    inner
      ? markup(value)
      : /[jmb]e/.test(element.localName) && /^(blob|data|j\w+):/i.test(text)
      ? inside(text)
      : // A candidate of a srcset ends with white space, or behind its descriptor with a comma.
        (one || several) && text.split(one ? INERT : /\b[\d.]+[wx],|,*\s+,*|,+$|;/).some(refused)
        ? INERT
        : !one && /\(/.test(text)
          ? css(text)
          : text;
  return clean == text ? value : clean;
};

// The address of a frame can be a page by itself. It is read before the browser does, who would show it at once.
/** @param {string} url */
const inside = (url) => {
  if (/^j/i.test(url))
    return markup(code(unescape(url), { type: "map" })) == unescape(url) ? url : INERT;
  const request = new XMLHttpRequest();
  request.open("GET", url, false);
  request.send();
  const text = request.responseText;
  // A PDF can be long, and is no markup.
  const clean = text[0] == "%" ? text : markup(text);
  return clean == text ? url
    : url[0] == "b" ? URL.createObjectURL(new Blob([clean], { type: "text/html" }))
    // The mark at its beginning says that it is in UTF-8.
    : "data:text/html,\ufeff" + encodeURIComponent(clean);
};

/**
 * Takes what is refused out of elements made elsewhere, and tells whether there was any.
 * @param {any} root @returns {number}
 */
const scrub = (root) => {
  let changed = 0;
  for (const element of [root, ...bare(root).querySelectorAll?.("*") || []]) {
    if (element.content?.append) changed += scrub(element.content);
    const slots = [...bare(element).attributes || []];
    if (judge(element)) slots.push(...element.childNodes);
    for (const slot of slots) {
      const clean = slot.data ? judge(element)(slot.data, element) : judged(element, slot.name, slot.value);
      if (clean != slot.nodeValue) slot.nodeValue = clean, changed = 1;
    }
  }
  return changed;
};

// On pages that require it, what is made of a trusted value is one, too. A policy that makes all kinds.
/** @type {any} */
let policy;
/** @param {string} kind @param {string} text */
const trusted = (kind, text) =>
  (policy ||= page.trustedTypes.createPolicy("consent", new Proxy(tag, { get: () => plain })))["create" + kind](text);
/** @type {any} */
const setMarkup = Object.getOwnPropertyDescriptor(Element.prototype, "innerHTML")?.set;
/** @param {any} value */
const markup = (value) => {
  const text = String(value);
  // What has nothing in it that could load is not parsed twice: no such element, and no attribute whose name ends so.
  if (!/<(use|sty|im|fe|scr|base|link)|(data|poster|background|src|set|ping|from|to|values|style|doc)\s*=|url\(/i.test(text))
    return value;
  const box = own.createElement("template");
  try {
    setMarkup.call(box, value);
  } catch {
    setMarkup.call(box, trusted("HTML", text));
  }
  return scrub(box.content) ? box.innerHTML : value;
};

// What scripts call.

// 1 while something is judged: what is called for that is not judged itself.
let busy = 0;
/** @param {() => void} judging */
const quietly = (judging) => {
  if (busy) return;
  busy = 1;
  try {
    judging();
  } catch {}
  busy = 0;
};

/**
 * Puts `before` ahead of methods, constructors and setters; ahead of getters where it takes no arguments. It may change
 * the arguments, or end the call by returning its result in a list.
 * @param {any} realm @param {any} object @param {RegExp} names @param {Before} before
 */
const hook = (realm, object, names, before) => {
  for (const name of Object.getOwnPropertyNames(object || "")) {
    if (names.test(name)) {
    /** @param {any} native @param {any} self @param {any[]} args @param {any} [made] @returns {any} */
    const run = (native, self, args, made) => {
      let end;
      quietly(() => {
        const given = [...args];
        // With fewer than it needs the browser throws.
        if (args.length >= native.length) end = before(self, args, (native.length || 1) - 1, name);
        given.forEach((value, at) => {
          if (args[at] !== value && trustee(value)) args[at] = trusted(trustee(value)[1], args[at]);
        });
      });
      end = end ? end[0] : made ? Reflect.construct(native, args, made) : native.apply(self, args);
      look(realm);
      return end;
    };
    /** @type {any} */
    const property = Object.getOwnPropertyDescriptor(object, name);
    const slot = property.set ? before.length > 1 ? "set" : "get" : "value";
    if (property[slot]) {
      property[slot] = new Proxy(property[slot], {
        apply: run,
        construct: (native, args, made) => run(native, 0, args, made),
      });
      // Or not, where it is locked.
      Reflect.defineProperty(object, name, property);
    }
    }
  }
};

/** @param {any[]} args */
const asked = (args, at = 0) => args[at] = plain(args[at]);
/** @type {Before} */
const address = (self, args, at, name) => {
  // Where that is no address at all: a port that browsers do not connect to.
  if (refused(args[at]?.url ?? asked(args, at))) args[at] = /W|L/.test(name) ? "https://0:1" : INERT;
};
/** @type {Before} */
const styles = (self, args) => {
  args.forEach((value, at) => (value = plain(value))?.at && (args[at] = css(value)));
};
// A copy takes their place where something in them is refused.
/** @type {Before} */
const keyframes = (self, args, at, name) => {
  // The length of the constructor is that of another way to call it.
  // @ts-expect-error: true is 1.
  at += name < "a";
  // What can be gone through only once is kept.
  if (!args[at].at && args[at][Symbol.iterator]) args[at] = [...args[at]];
  const text = JSON.stringify(args[at]);
  const clean = css(text);
  if (clean != text) args[at] = JSON.parse(clean);
};
/** @param {any} holder */
const tidy = (holder) =>
  quietly(() => {
    const text = holder.style.cssText;
    if (css(text) != text) holder.style = css(text);
  });
// By document, the beginning of a tag that waits for its end in what is written next.
const begun = new WeakMap();

/** @type {[RegExp, RegExp, Before][]} */
const HOOKS = [
  [/^Element/, /^setAttribute/, (self, args, at) => {
    args[at] = judged(self, args[at - 1], args[at]);
  }],
  // What is made for a document without a window loads nothing, and is judged like all that comes from there.
  [/^XSL/, /ToF/, (self, args) => {
    args[1] = args[1].implementation.createHTMLDocument("");
  }],
  [/^(Sha|Ele|Doc|Range)/, /(set|er|nt)HTML|^write|lFra|^exec/, (self, args, at, name) => {
    if (name[0] == "w") {
      const text = (begun.get(self) || "") + args.join("") + (name[5] ? "\n" : "");
      const end = (text + "<").search(/<(?![^a-z!\/])([^"'>]|"[^"]*"|'[^']*')*("[^"]*|'[^']*)?$/i);
      begun.set(self, text.slice(end));
      args.splice(0, args.length, text.slice(0, end));
    }
    if (name[0] == "e") at = 2;
    args[at] = (/Im/i.test(args[at - 2]) ? inert : judge(self) || markup)(plain(args[at]), self);
  }],
  [/^(Element|Named)/, /^set.*(Node|Item)/, (self, args) => {
    args[0].value = judged(self, args[0].name, args[0].value);
  }],
  // A cookie that is being deleted may be.
  [/^(Doc|CookieS)/, /^(set|cookie)/, (self, args) =>
    refusedCookie(args[0].name ?? asked(args)) && !/;.*(age=[-0]|1970)/i.test(args[0]) && [Promise.resolve()]],
  [/^Storage/, /^setI/, (self, args) => refusedKey(asked(args)) && [0]],
  [/^(Ele|Keyf)/, /^(setK|anim)/, keyframes],
  [/^Nav/, /^send/, (self, args) => refused(asked(args)) && [true]],
  [/^(SVGA.*ng|Work|XMLH|Cache)/, /^(base|add(M|$)|open)/, address],
  [/^CSS(Gr|K|St)|^StyleP/, /^(set|cssT|ins|rep|app|add)/, styles],
  // Such a rule is judged when the script has come to its end, which is before anything is drawn.
  [/^CSS.*Rule/, /^style/, (rule) => queueMicrotask(() => tidy(rule))],
  // No database has the version 0: the page is told that it cannot be opened.
  [/^IDBF/, /^open$/, (self, args) => refusedKey(asked(args)) && (args[1] = 0)],
  [/^HTMLF/, /mit/, (self) => refused(bare(self).getAttribute("action")) && [0]],
  // Into a window or a frame; where else a link leads, the event tells.
  [/^(EventT|HTMLEl)/, /^(disp|click)/, (self, args, at, name) =>
    /^cli/.test(args[0]?.type ?? name) && unasked(self.closest("[target]").href) && []],
  [/^(SVGE|HTML)/, ATTRIBUTES, (self, args, at, name) => {
    args[at] = judged(self, name, args[at]);
  }],
  [/^(Node|Attr|Cha|Ele|Doc|Range|HTML(Scr|El))/, /^(imp|ins|rep|app|ado|bef|data|prep|aft)|[tT]ext(C|$)|alue$/, (self, args) => {
    const holder = judge(self) ? self : self.parentNode;
    const fix = judge(holder);
    args.forEach((value, at) => {
      // What was made in this document was judged when it was made, but not what a script was then.
      if (value?.ownerDocument != document ? value?.ownerDocument : judge(value)) scrub(value);
      if (fix && value?.data) value.data = fix(value.data, holder);
      if (fix && value?.at) args[at] = fix(value, holder);
      if (self.ownerElement) args[at] = judged(self.ownerElement, self.name, value);
    });
  }],
];

// The prototypes of the windows that have been seen to: every document that a frame gets has another one. A frame of the
// page's own origin has functions of its own, and keeps them when its document comes; one of another origin tells no
// prototype.
const guarded = new WeakSet();
/** @param {any} realm */
const look = (realm) => {
  for (let at = 0; realm[at]; at++)
    try {
      guard(realm[at]);
    } catch {}
};
/** @param {any} realm */
const guard = (realm) => {
  const kind = Reflect.getPrototypeOf(realm);
  if (!kind || guarded.has(kind)) return;
  guarded.add(kind);
  look(realm);
  for (const type of Object.getOwnPropertyNames(realm))
    for (const entry of HOOKS) if (entry[0].test(type)) hook(realm, realm[type].prototype, entry[1], entry[2]);
  hook(realm, realm, /^(EventSo|Audio$|Web[ST]|fetch)/, address);
  hook(realm, realm, /^Keyf/, keyframes);
  hook(realm, realm, /^FontF/, styles);
  hook(realm, realm, /^open$/, (self, args) => unasked(asked(args)) && [null]);
  realm.navigation?.addEventListener("navigate", (/** @type {any} */ event) =>
    unasked(event.destination.url) && event.preventDefault());
  // Where styles are no properties of a prototype: before anything is drawn. And frames that came with the page.
  new MutationObserver((records) => {
    for (const record of records) record.attributeName && tidy(record.target);
    look(realm);
  }).observe(realm.document, { subtree: true, childList: true, attributeFilter: ["style"] });
};

// Takes away what refused vendors stored before, under every Domain and Path it can have.
const clear = async () => {
  try {
    for (const cookie of words(own.cookie))
      if (refusedCookie(cookie))
        for (const path of shorter(location.pathname, /.[^/]*$/))
          for (const host of shorter(location.hostname, LABEL))
            Reflect.set(
              Document.prototype,
              "cookie",
              cookie.split("=")[0] + "=;max-age=0;path=" + (path || "/") + ";domain=" + host,
              document,
            );
    for (const area of [localStorage, sessionStorage])
      for (const key in area) if (refusedKey(key)) delete area[key];
    for (const base of await indexedDB.databases())
      if (refusedKey(base.name)) indexedDB.deleteDatabase(base.name);
  } catch {}
};

// The site's own code may call what a refused vendor's snippet would have defined: nothing happens then. Whoever may
// define it finds no such name.
const ignored = () => {};
const ignore = () => {
  const calls = rules(["("]);
  // What a page has by such a name may throw.
  for (const [, name, , vendor] of calls) quietly(() => refuses(vendor) && (page[name] ||= ignored));
  for (const [, name, , vendor] of calls)
    quietly(() => refuses(vendor) || page[name] != ignored || delete page[name]);
};
