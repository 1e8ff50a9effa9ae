// Microsoft Clarity. Its queue is the one that its own snippet would make.

/** @type {any} */
let clarityTold;
announce(() => {
  const values = { ad_Storage: verdict(CLARITY_ADS), analytics_Storage: verdict(CLARITY) };
  const text = JSON.stringify(values);
  if (text != clarityTold) {
    const queue = (/** @type {unknown[]} */ ...args) => queue.q.push(args);
    /** @type {unknown[][]} */
    queue.q = [];
    (page.clarity ||= queue)("consentv2", values);
    clarityTold = text;
  }
});
