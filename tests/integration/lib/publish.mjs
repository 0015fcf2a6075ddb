// Publishing over HTTP with kept-alive connections.

import assert from 'node:assert/strict';
import http from 'node:http';
import { within } from './wait.mjs';

const agents = new Map();

function agent_of(broker) {
  const key = broker.pid;
  if (!agents.has(key)) agents.set(key, new http.Agent({ keepAlive: true, maxSockets: 16 }));
  return agents.get(key);
}

/** POSTs `body` and resolves to { status, headers, text, json }. */
export function post(broker, path, body, { headers = {}, limit_ms } = {}) {
  const bytes = Buffer.from(body);
  const answered = new Promise((resolve, reject) => {
    const call = http.request(
      {
        host: broker.http.host,
        port: broker.http.port,
        agent: agent_of(broker),
        method: 'POST',
        path,
        headers: { 'content-type': 'application/json', 'content-length': bytes.length, ...headers },
      },
      (response) => {
        const parts = [];
        response.on('data', (part) => parts.push(part));
        response.on('error', reject);
        response.on('end', () => {
          const text = Buffer.concat(parts).toString('utf8');
          let json;
          try {
            json = JSON.parse(text);
          } catch {
            json = undefined;
          }
          resolve({ status: response.statusCode, headers: response.headers, text, json });
        });
      },
    );
    call.on('error', reject);
    call.end(bytes);
  });
  return within(answered, `the answer to POST ${path}`, limit_ms);
}

function accepted(answer) {
  assert.equal(answer.status, 202, `an accepted publish: ${answer.status} ${answer.text}`);
  return answer.json;
}

/** One event; resolves to its id. */
export async function publish(broker, event) {
  return accepted(await post(broker, '/publish', JSON.stringify(event))).id;
}

/** An array of events, taken whole; resolves to their ids. */
export async function publish_all(broker, events) {
  return accepted(await post(broker, '/publish', JSON.stringify(events))).ids;
}

/** NDJSON; resolves to { count, first, last }. */
export async function publish_lines(broker, events) {
  const body = events.map((event) => JSON.stringify(event)).join('\n') + '\n';
  return accepted(await post(broker, '/publish', body, { headers: { 'content-type': 'application/x-ndjson' } }));
}
