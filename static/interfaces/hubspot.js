// HubSpot. HUBSPOT has its three kinds of consent, and whose answers make them.

/** @type {any} */
let hubspotTold;
announce(() => {
  /** @type {any} */
  const values = {};
  for (const [name, whose] of HUBSPOT) values[name] = verdict(whose) == "granted";
  const text = JSON.stringify(values);
  if (text != hubspotTold) (page._hsp ||= []).push(["setHubSpotConsent", values]);
  hubspotTold = text;
});
