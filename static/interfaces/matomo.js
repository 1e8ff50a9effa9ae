// Matomo: sends nothing until it is told that it may.

safely(() => (page._paq ||= []).push(["requireConsent"]));
announce(() => refuses(MATOMO) || page._paq.push(["setConsentGiven"]));
