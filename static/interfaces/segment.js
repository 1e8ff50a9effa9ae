// Segment: every event says what the visitor allows, and none leaves the page while it is refused.

let stamps = false;
announce(() => {
  if (!stamps)
    page.analytics.addSourceMiddleware((/** @type {any} */ event) => {
      /** @type {any} */
      const preferences = {};
      for (const category of CATEGORIES) preferences[category] = answer(category);
      (event.payload.obj.context ||= {}).consent = { categoryPreferences: preferences };
      if (!refuses(SEGMENT)) event.next(event.payload);
    });
  stamps = true;
});
