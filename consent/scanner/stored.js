// Asked of every frame after a page has settled: the names of what is stored, none of the values.
async () => {
  const MAX = 300, found = [];
  const add = (area, keys) => { for (const key of keys.slice(0, MAX)) found.push([area, String(key).slice(0, 200)]); };
  const each = [
    ["local", async () => Object.keys(localStorage)],
    ["session", async () => Object.keys(sessionStorage)],
    ["indexeddb", async () => (await indexedDB.databases()).map((base) => base.name)],
    ["cache", async () => await caches.keys()],
  ];
  // A frame without an origin of its own has no storage, and says so by an error.
  for (const [area, keys] of each) try { add(area, await keys()); } catch (error) { void error; }
  return {origin: location.origin, found, probe: typeof window.KEY == "function" ? window.KEY() : ""};
}
