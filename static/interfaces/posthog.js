// PostHog: opts in who is opted out, when it is there, and without an event about that.

announce(() =>
  refuses(POSTHOG) ||
  page.posthog.push(() =>
    page.posthog.has_opted_out_capturing() && page.posthog.opt_in_capturing({ captureEventName: false })));
