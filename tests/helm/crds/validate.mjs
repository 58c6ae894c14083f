// Custom resources (a JSON array on standard input) against the schemas that their own projects publish, as the npm packages
// @kubernetes-models/* carry them: compiled to a function for each kind. Answers a JSON array of findings.
//
// The API server drops a field that the schema does not know, and the compiled schemas do not mind one; a typo would pass. So
// each resource is wrapped, and a field that its schema never looked at is a finding, too.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const PACKAGES = {
  "cert-manager.io": "cert-manager",
  "gateway.networking.k8s.io": "gateway-api",
  "keda.sh": "keda",
  "monitoring.coreos.com": "prometheus-operator",
  "postgresql.cnpg.io": "cloudnative-pg",
};

const modules = process.argv[2];

/** The compiled schema of a kind; it is imported by the module of the kind's class. */
async function schemaOf({ apiVersion, kind }) {
  const group = apiVersion.split("/")[0];
  if (!(group in PACKAGES)) return undefined;
  const folder = `${modules}/@kubernetes-models/${PACKAGES[group]}`;
  const [, name] = readFileSync(`${folder}/${apiVersion}/${kind}.js`, "utf8").match(/_schemas\/(\w+)\.js/);
  return (await import(pathToFileURL(`${folder}/_schemas/${name}.js`))).validate;
}

/** The value, with every path that is read from it added to `seen`. */
function watched(value, path, seen) {
  if (typeof value !== "object" || value === null) return value;
  return new Proxy(value, {
    get(target, key) {
      if (typeof key === "symbol" || !Object.hasOwn(target, key)) return Reflect.get(target, key);
      seen.add(`${path}/${key}`);
      return watched(target[key], `${path}/${key}`, seen);
    },
  });
}

function* paths(value, path) {
  if (typeof value !== "object" || value === null) return;
  for (const key of Object.keys(value)) {
    yield `${path}/${key}`;
    yield* paths(value[key], `${path}/${key}`);
  }
}

const findings = [];
for (const one of JSON.parse(readFileSync(0, "utf8"))) {
  const name = `${one.kind}/${one.metadata.name}`;
  const validate = await schemaOf(one);
  if (validate === undefined) {
    findings.push(`${name}: no schema for ${one.apiVersion}`);
    continue;
  }
  const seen = new Set();
  if (!validate(watched(one, "", seen))) {
    findings.push(...validate.errors.map((error) => `${name}${error.instancePath}: ${error.keyword} ${JSON.stringify(error.params)}`));
  }
  findings.push(...[...paths(one, "")].filter((path) => !seen.has(path)).map((path) => `${name}${path}: unknown`));
}
console.log(JSON.stringify(findings));
