// Microsoft Advertising, Universal Event Tracking: first what silence allows, then what the visitor said.

let uetTold = verdict(UET, silent);
safely(() => (page.uetq ||= []).push("consent", "default", { ad_storage: uetTold }));
announce(() => {
  const value = verdict(UET);
  if (value != uetTold) page.uetq.push("consent", "update", { ad_storage: value });
  uetTold = value;
});
