// Makes vectors.json with the IAB's own encoder, and reads with its decoder what consent/gpp_string.py wrote. A tool for
// developers: the tests read the file that it made. In a folder of its own:
//
//   npm install @iabgpp/cmpapi
//   node vectors.mjs > vectors.json                 the vectors
//   node vectors.mjs check < strings.json           a list of {"content": …, "string": …}, as vectors.json has them
import { GppModel, Sections } from "@iabgpp/cmpapi";
import { readFileSync } from "node:fs";

/** The encoder tells of what is optional by an error alone. */
const optional = (ask) => {
  try {
    return ask();
  } catch (error) {
    if (error.name !== "InvalidFieldError") throw error;
  }
};
const US = Sections.SECTION_ORDER.filter((name) => /^us(?!pv1)/.test(name));
const GPC = { type: "GpcSegmentType", included: "GpcSegmentIncluded", value: "Gpc" };
const SENSITIVE = "SensitiveDataConsentSegmentIncluded";

/** The encoder's own names and defaults of a section's fields. */
const template = (name, version) => {
  const model = new GppModel();
  model.setFieldValue(name, "SaleOptOut", 0);
  if (version) model.setFieldValue(name, "Version", version);
  optional(() => model.setFieldValue(name, SENSITIVE, false));
  return model.getSection(name);
};

/** What is in a section, as scripts get it: the core, and the sub-section about GPC. */
const parts = (section) => {
  const { GpcSegmentType: type, Gpc: gpc, ...core } = section;
  delete core[GPC.included];
  if ("MspaVersion" in core) delete core.SensitiveDataProcessing;
  if (core.Version === 1 && core.SensitiveDataProcessing?.length === 16) {
    core.SensitiveDataProcessing.length = 12;
    core.KnownChildSensitiveDataConsents.length = 2;
  }
  return gpc === undefined ? [core] : [core, { SubsectionType: type, Gpc: gpc }];
};

/** Fills in numbers that `next` gives. */
const filled = (name, version, next, gpc) => {
  const found = parts(template(name, version));
  const core = found[0];
  for (const field in core)
    if (field !== "Version" && field !== "MspaVersion")
      core[field] = Array.isArray(core[field])
        ? core[field].map(() => next())
        : field === "MspaCoveredTransaction" ? 1 + (next() % 2) : next();
  if (found[1]) {
    found[1].Gpc = gpc === true;
    if (gpc === undefined) found.pop();
  }
  return found;
};

const encoded = (content) => {
  const model = new GppModel();
  for (const [name, [core, gpc]] of Object.entries(content)) {
    for (const [field, value] of Object.entries(core)) {
      // Shorter lists of the first version are the beginning of those of the second.
      const size = template(name)[field].length;
      model.setFieldValue(name, field, size ? [...value, ...Array(size - value.length).fill(0)] : value);
    }
    optional(() => model.setFieldValue(name, SENSITIVE, false));
    optional(() => model.setFieldValue(name, GPC.included, !!gpc));
    if (gpc) model.setFieldValue(name, GPC.value, gpc.Gpc);
  }
  return model.encode();
};

const read = (string) => {
  const model = new GppModel(string);
  const found = {};
  for (const id of model.getSectionIds()) {
    const name = Sections.SECTION_ID_NAME_MAP.get(id);
    found[name] = parts(model.getSection(name));
    if (!optional(() => model.getFieldValue(name, GPC.included))) found[name].length = 1;
  }
  return found;
};

if (process.argv[2] === "check") {
  const canonical = (value) =>
    JSON.stringify(value, (_, inner) =>
      inner && typeof inner === "object" && !Array.isArray(inner)
        ? Object.fromEntries(Object.entries(inner).sort())
        : inner);
  let wrong = 0;
  const all = JSON.parse(readFileSync(0, "utf8"));
  for (const { content, string } of all)
    if (canonical(read(string)) !== canonical(content)) {
      wrong++;
      console.error(`${string}\n  ours   ${canonical(content)}\n  theirs ${canonical(read(string))}`);
    }
  console.error(`${all.length} strings, ${wrong} read otherwise`);
  process.exit(wrong ? 1 : 0);
}

const contents = [{}];
let seed = 1;
const drawn = () => (seed = (seed * 16807) % 2147483647) % 3;
for (const name of US)
  for (const version of name === "usnat" ? [1, 2] : [undefined]) {
    contents.push({ [name]: filled(name, version, () => 0) }, { [name]: filled(name, version, () => 2, false) });
    for (const gpc of [true, false]) contents.push({ [name]: filled(name, version, drawn, gpc) });
  }
for (const names of [["usnat", "usca"], ["usca", "usva", "usco"], ["usnat", "usva", "usut", "usri"], US])
  contents.push(Object.fromEntries(names.map((name) => [name, filled(name, undefined, drawn, true)])));
const lines = contents.map((content) => JSON.stringify({ string: encoded(content), content: content }));
console.log(`[\n${lines.join(",\n")}\n]`);
