"use strict";
// Run Perfetto's trace processor, as its page has it, in Node.js: requests of its RPC on the standard input, replies on
// the standard output. The argument is the directory of engine_bundle.js.
const fs = require("fs"), path = require("path"), vm = require("vm");
const directory = process.argv[2];
process.type = "renderer"; // else the bundle refuses Node.js
globalThis.self = globalThis;
globalThis.WorkerGlobalScope = class {};
globalThis.location = { href: "http://localhost/engine_bundle.js" };
globalThis.XMLHttpRequest = class {
  open(method, url) { this.file = path.join(directory, path.basename(url)); }
  send() { this.response = new Uint8Array(fs.readFileSync(this.file)).buffer; this.status = 200; }
};
console.log = console.warn = console.error;
vm.runInThisContext(fs.readFileSync(path.join(directory, "engine_bundle.js"), "utf8"), { filename: "engine_bundle.js" });
setTimeout(() => {
  const port = { postMessage: data => fs.writeSync(1, data) };
  globalThis.onmessage({ data: port });
  port.onmessage({ data: new Uint8Array(fs.readFileSync(0)) });
}, 0);
