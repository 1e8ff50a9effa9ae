// Runs first in every frame of a scan: counts what tells browsers apart, and notes which script stored what.
// "KEY" is replaced by the name under which the scanner asks for the answer. Everything passes through unchanged.
(() => {
  const MAX_SCRIPTS = 100, MAX_DIFFERENT = 500, MAX_TRACES = 2000, MAX_WRITES = 500, MAX_NAME = 200, MAX_URL = 2048;
  const {apply, construct, getOwnPropertyDescriptor, defineProperty} = Reflect;
  const text = JSON.stringify;
  /** @type {Map<string, {what: string, script: string, count: number, different: Set<string>}>} */
  const calls = new Map();
  /** @type {Map<string, string[]>} */
  const writes = new Map();
  let traces = 0;

  function caller() {
    if (++traces > MAX_TRACES) return "";
    for (const line of String(new Error().stack).split("\n").slice(1)) {
      const place = /\(?((?:https?|blob|data):[^\s)]+?)(?::\d+){1,2}\)?$/.exec(line.slice(0, 3000));
      if (place) return place[1].slice(0, 2048);
    }
    return "";
  }

  function note(what, detail) {
    const script = caller(), key = what + "\n" + script;
    let call = calls.get(key);
    if (!call) {
      if (calls.size >= MAX_SCRIPTS) return;
      calls.set(key, call = {what, script, count: 0, different: new Set()});
    }
    call.count++;
    if (detail !== undefined && call.different.size < MAX_DIFFERENT) call.different.add(String(detail).slice(0, 100));
  }

  function wrote(area, name) {
    const short = String(name).slice(0, area == "image" ? MAX_URL : MAX_NAME), key = area + "\n" + short;
    if (writes.size < MAX_WRITES && !writes.has(key)) writes.set(key, [area, short, caller()]);
  }

  // A proxy says of itself what the function says, so that nobody behaves otherwise because of it.
  function watchCall(owner, name, before) {
    const found = owner && getOwnPropertyDescriptor(owner, name);
    if (!found || typeof found.value != "function" || !found.configurable) return;
    found.value = new Proxy(found.value, {
      apply(target, self, given) { before(self, given); return apply(target, self, given); },
    });
    defineProperty(owner, name, found);
  }
  function watchGetter(owner, name, what) {
    const found = owner && getOwnPropertyDescriptor(owner, name);
    if (!found || !found.get || !found.configurable) return;
    found.get = new Proxy(found.get, {
      apply(target, self, given) { note(what, name); return apply(target, self, given); },
    });
    defineProperty(owner, name, found);
  }
  function watchNew(name, what) {
    const found = getOwnPropertyDescriptor(window, name);
    if (!found || typeof found.value != "function") return;
    found.value = new Proxy(found.value, {
      construct(target, given, as) { note(what, name); return construct(target, given, as); },
    });
    defineProperty(window, name, found);
  }

  for (const name of ["toDataURL", "toBlob"])
    watchCall(HTMLCanvasElement.prototype, name, () => note("canvas", name));
  for (const context of [window.CanvasRenderingContext2D, window.OffscreenCanvasRenderingContext2D]) {
    watchCall(context?.prototype, "getImageData", () => note("canvas", "getImageData"));
    watchCall(context?.prototype, "measureText", (self) => note("fonts", self.font));
  }
  for (const context of [window.WebGLRenderingContext, window.WebGL2RenderingContext]) {
    for (const name of ["getParameter", "getSupportedExtensions", "readPixels"])
      watchCall(context?.prototype, name, (_, given) => note("webgl", name + given[0]));
  }
  watchCall(window.FontFaceSet?.prototype, "check", (_, given) => note("fonts", given[0]));
  watchNew("OfflineAudioContext", "audio");
  watchNew("AudioContext", "audio");
  watchNew("RTCPeerConnection", "webrtc");
  for (const name of ["plugins", "mimeTypes"]) watchGetter(Navigator.prototype, name, "plugins");
  for (const name of ["hardwareConcurrency", "deviceMemory"]) watchGetter(Navigator.prototype, name, "device");
  watchCall(Navigator.prototype, "getBattery", () => note("device", "getBattery"));
  watchCall(window.NavigatorUAData?.prototype, "getHighEntropyValues", () => note("device", "getHighEntropyValues"));
  watchCall(window.MediaDevices?.prototype, "enumerateDevices", () => note("device", "enumerateDevices"));
  watchCall(window.SpeechSynthesis?.prototype, "getVoices", () => note("device", "getVoices"));

  const picture = getOwnPropertyDescriptor(HTMLImageElement.prototype, "src");
  if (picture?.set) {
    picture.set = new Proxy(picture.set, {
      apply(target, self, given) {
        const result = apply(target, self, given);
        wrote("image", self.src);
        return result;
      },
    });
    defineProperty(HTMLImageElement.prototype, "src", picture);
  }

  const jar = getOwnPropertyDescriptor(Document.prototype, "cookie");
  if (jar?.set) {
    jar.set = new Proxy(jar.set, {
      apply(target, self, given) {
        wrote("cookie", String(given[0]).slice(0, 4096).split(";")[0].split("=")[0].trim());
        return apply(target, self, given);
      },
    });
    defineProperty(Document.prototype, "cookie", jar);
  }
  watchCall(Storage.prototype, "setItem", (self, given) => {
    let area = "session";
    try { if (self === localStorage) area = "local"; } catch { /* this frame has no storage */ }
    wrote(area, given[0]);
  });
  watchCall(window.IDBFactory?.prototype, "open", (_, given) => wrote("indexeddb", given[0]));

  defineProperty(window, "KEY", {
    value: () => text({
      calls: [...calls.values()].map((c) => [c.what, c.script, c.count, c.different.size]),
      writes: [...writes.values()],
    }),
  });
})();
