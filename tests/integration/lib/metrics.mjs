// What /metrics says.

import assert from 'node:assert/strict';
import { request } from './http.mjs';

/** The value of one series, `name` or `name{label="value"}`, without the prefix. */
export async function metric(broker, name) {
  const { text } = await request(broker.ops, { path: '/metrics' });
  const line = text.split('\n').find((each) => each.startsWith(`tickertape_${name} `));
  assert.ok(line, `${name} is in /metrics`);
  return Number(line.split(' ').at(-1));
}
