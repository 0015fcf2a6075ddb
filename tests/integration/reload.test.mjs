// SIGHUP: what can be reloaded is, what cannot is said, and what is wrong changes nothing.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { broker_test, temporary_directory } from './lib/broker.mjs';
import { request } from './lib/http.mjs';
import { publish } from './lib/publish.mjs';
import { subscribe } from './lib/sse.mjs';
import { eventually, logged } from './lib/wait.mjs';

const directory = temporary_directory();
const file = path.join(directory, 'tickertape.ini');
process.on('exit', () => fs.rmSync(directory, { recursive: true, force: true }));
fs.writeFileSync(file, 'allow-origin = https://a.example\n');

const allowed = async (broker, origin) =>
  (await request(broker.http, { path: '/nothing', headers: { origin } })).headers.get('access-control-allow-origin') === origin;

broker_test('SIGHUP takes a new list of origins; streams go on', { args: [`--config=${file}`], small: true }, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c');
  assert.ok(await allowed(broker, 'https://a.example'));
  assert.ok(!(await allowed(broker, 'https://b.example')));

  fs.writeFileSync(file, 'allow-origin = https://b.example\nretry-ms = 7s\n');
  broker.signal('SIGHUP');
  await eventually(() => allowed(broker, 'https://b.example'), 'the new origin');
  /* Every shard has the new table by now, or gets it before its next request. */
  await eventually(async () => !(await allowed(broker, 'https://a.example')), 'the old origin is gone');
  await logged(broker, /code=reloaded .*allow-origin/);
  await logged(broker, /code=restart_needed .*retry-ms/);

  fs.writeFileSync(file, 'allow-origin = nonsense\n');
  broker.signal('SIGHUP');
  await logged(broker, /code=reload_failed .*nonsense/);
  assert.ok(await allowed(broker, 'https://b.example'));

  await publish(broker, { channel: 'c', payload: 1 });
  await client.received(1);
  client.cut();
});
