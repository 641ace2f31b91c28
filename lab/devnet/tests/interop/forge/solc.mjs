// Stands for a native solc before forge: `--version` in the native form, else standard JSON by solcjs.
//
//   node solc.mjs NPM_FOLDER [--version | --standard-json …]

import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.argv[2], "package.json"));
const solc = require("solc");
if (process.argv.includes("--version")) {
  const version = solc.version().replace(/\.Emscripten.*$/, "");
  console.log(`solc, the solidity compiler commandline interface\nVersion: ${version}.Linux.g++`);
} else {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  process.stdout.write(solc.compile(Buffer.concat(chunks).toString("utf8")));
}
