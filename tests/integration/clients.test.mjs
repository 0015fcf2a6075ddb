// The clients that people really use: curl, npm's eventsource in two generations, undici's EventSource.
// Each gets events, and comes back by itself with nothing lost or doubled.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { broker_test } from './lib/broker.mjs';
import { request } from './lib/http.mjs';
import { publish } from './lib/publish.mjs';
import { eventually } from './lib/wait.mjs';

const require = createRequire(new URL('../package.json', import.meta.url));

const libraries = {
  'eventsource 2': () => require('eventsource2'),
  'eventsource 3': () => require('eventsource').EventSource,
  'undici EventSource': () => require('undici').EventSource,
};

broker_test('curl -N shows events as they come', { small: true }, async (broker) => {
  const curl = spawn('curl', ['-sN', `${broker.url}/sse?channels=c`], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  curl.stdout.setEncoding('utf8').on('data', (part) => (text += part));
  const closed = new Promise((resolve) => curl.on('close', resolve));
  try {
    await eventually(() => text.includes('event: connected\n'), 'connected');
    for (let i = 0; i < 3; i++) {
      const id = await publish(broker, { channel: 'c', type: 'tick', payload: { i } });
      await eventually(() => text.endsWith(`id: ${id}\n\n`), `event ${i}, received: ${text}`);
    }
    assert.match(text, /^retry: \d+\n\n?event: connected\n/m);
  } finally {
    curl.kill('SIGKILL');
    await closed;
  }
});

/** Opens a source, takes two events, lets `breaks` break the connection, and takes the rest. */
async function resumes(broker, EventSource, breaks) {
  const source = new EventSource(`${broker.url}/sse?channels=c`);
  const got = [];
  let connected = 0;
  source.addEventListener('connected', () => connected++);
  source.addEventListener('tick', (event) => got.push([JSON.parse(event.data).payload, event.lastEventId]));
  source.onmessage = (event) => got.push([JSON.parse(event.data).payload, event.lastEventId]);
  try {
    await eventually(() => connected === 1, 'connected');
    const ids = [];
    ids.push(await publish(broker, { channel: 'c', type: 'tick', payload: 0 }));
    ids.push(await publish(broker, { channel: 'c', payload: 1 }));
    await eventually(() => got.length === 2, 'two events');
    await breaks();
    ids.push(await publish(broker, { channel: 'c', payload: 2 }));
    await eventually(() => connected === 2, 'connected again');
    ids.push(await publish(broker, { channel: 'c', type: 'tick', payload: 3 }));
    await eventually(() => got.length >= 4, () => `four events, not ${JSON.stringify(got)}`);
    assert.deepEqual(got, ids.map((id, i) => [i, id]));
  } finally {
    source.close();
  }
}

for (const [name, load] of Object.entries(libraries)) {
  broker_test(`${name} works, and resumes after a cut`, { args: ['--retry-ms=500', '--demo'] }, (broker) =>
    resumes(broker, load(), async () => {
      const { status } = await request(broker.http, { method: 'POST', path: '/demo/cut', body: '' });
      assert.ok(status >= 200 && status < 300);
    }),
  );
}

/* undici 6 is not among them: it stops trying for good once a connection is refused, by whatever server. */
for (const name of ['eventsource 2', 'eventsource 3']) {
  broker_test(`${name} resumes after a restart`, { args: ['--retry-ms=100', '--drain-delay-ms=0', '--drain-ms=0'] }, (broker) =>
    resumes(broker, libraries[name](), async () => {
      await broker.stop();
      await broker.restart();
    }),
  );
}
