// Google's tags that the policy lets through, where everybody gets the same page: held for who sends a signal against
// them, given back to all others.

for (const tag of GOOGLE_TAGS[signals]) if (!state[0].includes(tag[0])) state.push(tag.slice(1));
ignore();
