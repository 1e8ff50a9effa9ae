declare const TABLE: string;

// Of the files in static/interfaces.
declare const REVOCATIONS: [string, string, ...unknown[]][];
declare const GOOGLE: [string, string][];
declare const REGIONS: string[];
declare const GOOGLE_SETTINGS: string[];
declare const GOOGLE_TAGS: string[];
declare const HUBSPOT: [string, string][];
declare const UET: string;
declare const CLARITY: string;
declare const CLARITY_ADS: string;
declare const META: string;
declare const TIKTOK: string;
declare const MATOMO: string;
declare const SEGMENT: string;
declare const MIXPANEL: string;
declare const POSTHOG: string;
