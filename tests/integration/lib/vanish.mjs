// Runs inside a network namespace of its own (hostile.test.mjs starts it so): a client whose machine is gone from
// one moment to the next. Its address is taken off the loopback device, so that neither side hears from the other.
// Prints one JSON line with what the broker counted.

import { execFileSync } from 'node:child_process';
import { with_broker } from './broker.mjs';
import { request } from './http.mjs';
import { publish } from './publish.mjs';
import { SseClient, subscribe } from './sse.mjs';
import { eventually } from './wait.mjs';

const gone = '10.99.0.9';

async function figures(broker) {
  const { text } = await request(broker.ops, { path: '/metrics' });
  const value = (name) => Number(text.split('\n').find((line) => line.startsWith(`tickertape_${name} `))?.split(' ')[1] ?? 0);
  return { live: value('clients{transport="sse",state="live"}'), reset: value('closes_total{reason="reset"}') };
}

execFileSync('ip', ['link', 'set', 'lo', 'up']);
execFileSync('ip', ['addr', 'add', `${gone}/32`, 'dev', 'lo']);

await with_broker({ args: ['--user-timeout-ms=1s', '--heartbeat-ms=100ms', '--stall-ms=1h'] }, async (broker) => {
  const stays = await subscribe(broker, '/sse?channels=c');
  const vanishes = await SseClient.open(broker, '/sse?channels=c', { localAddress: gone });
  await vanishes.connected();
  await publish(broker, { channel: 'c', payload: 1 });
  await Promise.all([stays.received(1), vanishes.received(1)]);
  const before = await figures(broker);
  execFileSync('ip', ['addr', 'del', `${gone}/32`, 'dev', 'lo']);
  const after = await eventually(async () => {
    const f = await figures(broker);
    return f.live < before.live && f;
  }, 'the end of the client that vanished');
  await publish(broker, { channel: 'c', payload: 2 });
  await stays.received(2);
  process.stdout.write(`${JSON.stringify({ before, after })}\n`);
  stays.cut();
  vanishes.cut();
});
process.exit(0);
