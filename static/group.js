// Where the site belongs to a group: a link to another site of it goes by way of the choice that was made here.
//
// Goes behind interface.js, in the same block. GROUP are the other sites' origins. Where it does not run, links lead
// where they say.

for (const kind of words("click auxclick"))
  addEventListener(kind, (event) => {
    /** @type {any} */
    const link = event.composedPath().find((/** @type {any} */ node) => GROUP.includes(node.origin));
    // Who has not answered has nothing to take along. Of a longer address not all would be read on the way.
    if (link?.href?.length < 1e3 && link.origin != location.origin && !document.querySelector(".consent-banner")) {
      const there = link.href;
      link.href = endpoint.replace(/choice$/, "group/go?to=") + encodeURIComponent(there);
      // As soon as the browser has followed it.
      setTimeout(() => link.href = there);
    }
  }, true);
