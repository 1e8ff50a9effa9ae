// Google's tags that the policy lets through, where everybody gets the same page: held for who sends a signal against
// them, given back to all others.

const named = GOOGLE_TAGS[!!navigator.globalPrivacyControl + 2 * /^1/.test(navigator.doNotTrack)];
for (const tag of named) if (!state[0].includes(tag[0])) state.push(tag.slice(1));
ignore();
