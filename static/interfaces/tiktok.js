// TikTok: a pixel that comes while it is refused is on hold before it is loaded.

safely(() => {
  let pixel = page.ttq;
  Object.defineProperty(page, "ttq", {
    configurable: true,
    enumerable: true,
    get: () => pixel,
    set: (made) => {
      pixel = made;
      if (refuses(TIKTOK)) safely(() => made.push(["holdConsent"]));
    },
  });
});
announce(() => refuses(TIKTOK) || page.ttq.grantConsent());
