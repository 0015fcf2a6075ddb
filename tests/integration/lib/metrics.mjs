// What /metrics says.

import assert from 'node:assert/strict';
import { request } from './http.mjs';
import { eventually } from './wait.mjs';

/** The value of one series, `name` or `name{label="value"}`, without the prefix. */
export async function metric(broker, name) {
  /* A listener with all its connections in use says 503 and when to come again. */
  let last;
  const { text } = await eventually(async () => {
    last = await request(broker.ops, { path: '/metrics' });
    return last.status === 200 && last;
  }, () => `/metrics: ${last.status} ${last.text}`);
  const line = text.split('\n').find((each) => each.startsWith(`tickertape_${name} `));
  assert.ok(line, `${name} is in /metrics: ${text.slice(0, 300)}`);
  return Number(line.split(' ').at(-1));
}
