// What this visitor is allowed because nobody refused it, by the server's word.

const silent = [...tag.dataset.silent || ""];
