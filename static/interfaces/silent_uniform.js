// What this visitor is allowed because nobody refused it, where everybody gets the same page.

const silent = /u/.test(counting) ? [...state[0]] : [];
