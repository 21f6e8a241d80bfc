// Checks Sigstore bundles, one a line on stdin, with @sigstore/verify.
// Prints a line for each: "verified", or why not.
// Usage: node verify_bundles.js TRUSTED_ROOT PUBLIC_KEY HINT
"use strict";
const fs = require("fs");
const { createPublicKey } = require("crypto");
const { bundleFromJSON } = require("@sigstore/bundle");
const { TrustedRoot } = require("@sigstore/protobuf-specs");
const { Verifier, toSignedEntity, toTrustMaterial } = require("@sigstore/verify");

const [rootFile, keyFile, hint] = process.argv.slice(2);
const root = TrustedRoot.fromJSON(JSON.parse(fs.readFileSync(rootFile, "utf8")));
const rawBytes = createPublicKey(fs.readFileSync(keyFile)).export({ type: "spki", format: "der" });
const trust = toTrustMaterial(root, { [hint]: { rawBytes } });
const verifier = new Verifier(trust, { tlogThreshold: 1, timestampThreshold: 0 });

for (const line of fs.readFileSync(0, "utf8").trimEnd().split("\n")) {
  try {
    verifier.verify(toSignedEntity(bundleFromJSON(JSON.parse(line))));
    console.log("verified");
  } catch (error) {
    console.log(`${error.code || error.name}: ${error.message}`.replaceAll("\n", " "));
  }
}
