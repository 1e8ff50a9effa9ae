declare const TABLE: string;
