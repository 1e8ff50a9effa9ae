// Tells the trackers that run in the page, through their own interfaces, that they are refused from now on: before the
// page is loaded anew.
//
// Goes behind interface.js, in the same block, where REVOCATIONS (made by consent/vendor_interfaces.py) has something to
// say; behind it comes announcing.js, and a file for each interface of the policy. What the page and the vendors
// define may be anything at all: nothing that becomes of a call there is to stop us.

/** @param {() => unknown} saying */
const safely = (saying) => {
  try {
    saying();
  } catch {}
};

heed("withdraw", () => {
  for (const [vendor, path, ...args] of REVOCATIONS)
    if (refuses(vendor))
      safely(() => {
        let owner = page;
        let method = page;
        for (const name of path.split(".")) {
          owner = method;
          method = owner[name];
        }
        Reflect.apply(method, owner, args);
      });
});
