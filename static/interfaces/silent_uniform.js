// What this visitor is allowed because nobody refused it, where everybody gets the same page.

const silent = valid ? [] : [...state[0]];
