// SPDX-License-Identifier: Apache-2.0
// Runs a module with WASI preview 1 in Node.js: wasi.mjs MODULE ARGUMENTS
import { readFileSync } from "node:fs";
import { WASI } from "node:wasi";

const [file, ...rest] = process.argv.slice(2);
const wasi = new WASI({ version: "preview1", args: ["wasm.wasm", ...rest] });
const { instance } = await WebAssembly.instantiate(readFileSync(file), wasi.getImportObject());
process.exit(wasi.start(instance));
