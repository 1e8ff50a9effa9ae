// The types of `window.consent`, which the guard of asgi-consent defines in every page. Nothing loads this file: it is
// for editors and for TypeScript.

declare namespace Consent {
  type Category = "strictly-necessary" | "performance" | "functional" | "targeting";

  /** What is left out is refused. */
  interface Choice {
    performance?: boolean;
    functional?: boolean;
    targeting?: boolean;
    /** Answers for single vendors, by id, that differ from their category's. */
    vendors?: Record<string, boolean>;
    /** The browser signals that your own words told the visitor of. */
    told?: ("gpc" | "dnt")[];
    /** The hash of the text of ours that the visitor chose on, if it was one. */
    shown?: string;
    /** The tag of the language of that text. */
    language?: string;
  }

  /** What the server made of a choice. */
  interface Outcome {
    receipt_id: string | null;
    recorded: boolean;
    outcome: string;
    policy_version: string;
    /** What holds now, signals included. */
    categories: Record<Category, boolean>;
    vendors: Record<string, boolean>;
    allowed: string;
  }

  interface Client {
    /** Whether the category, or in it the one vendor, is allowed. What is not a category is not. */
    allows(category: Category, vendor?: string): boolean;
    /** Shows the preferences. */
    open(): void;
    /** Each resolves with what the server answered, with `undefined` where the choice could not be stored. */
    accept(): Promise<Outcome | undefined>;
    refuse(): Promise<Outcome | undefined>;
    set(choice: Choice): Promise<Outcome | undefined>;
    withdraw(): Promise<Outcome | undefined>;
    /**
     * Runs `run` after each change of what is allowed; before the page is loaded anew because something was taken
     * back; or once, when the page is there, or else at once.
     */
    on(name: "change" | "withdraw" | "ready", run: (event?: Event) => void): Promise<void>;
    /** Resolves as soon as it is allowed. */
    when(category: Category, vendor?: string): Promise<void>;
  }
}

declare const consent: Consent.Client;

interface Window {
  readonly consent: Consent.Client;
}

interface DocumentEventMap {
  "consent:change": Event;
  "consent:withdraw": Event;
  "consent:ready": Event;
}
