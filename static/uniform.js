// Behind a cache that gives everybody the same page, in which nothing optional is allowed: finds out what this very
// visitor allows, and makes the page this visitor's.
//
// Goes behind client.js, in the same block. The server has decided before: here is looked up what it says of the
// browser's signals, in a cookie or on the tag, whose form consent/variant_cookie.py tells.

// What cannot be read may have been a no. Two, of the host and of its domain, say nothing: either may be the older one.
const [said, second] = words(own.cookie).filter((/** @type {string} */ pair) => pair.startsWith(state[0]));
const mine = second ? [] : said?.split(".") || state;
const counting = (mine[2] > new Date() && mine[1] == state[1] ? mine : state)[3 + !!navigator.globalPrivacyControl + 2 * /^1/.test(navigator.doNotTrack)];
state = mine.slice(7).filter((/** @type {string} */ word) => counting.includes(word[0])).join("").split(/.:/);
// Nobody is asked in a frame, nor who has answered. What is taken away goes before anything is drawn. What is undefined
// has the letter, too.
needless = top == page ? /u/.test(counting) ? "x" : ".consent-banner" : ".consent-root";
