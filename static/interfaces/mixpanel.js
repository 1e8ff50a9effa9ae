// Mixpanel: opts in who is opted out, when it is there. It keeps that, and sends an event of its own.

announce(() =>
  refuses(MIXPANEL) ||
  page.mixpanel.push(() => page.mixpanel.has_opted_out_tracking() && page.mixpanel.opt_in_tracking()));
