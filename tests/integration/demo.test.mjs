// --demo: the page and the button that cuts.

import assert from 'node:assert/strict';
import { broker_test } from './lib/broker.mjs';
import { request } from './lib/http.mjs';
import { publish } from './lib/publish.mjs';
import { subscribe } from './lib/sse.mjs';

broker_test('/ leads to the demo page, which is there whole', { args: ['--demo'] }, async (broker) => {
  const root = await request(broker.http, { path: '/' });
  assert.ok([302, 303, 307, 308].includes(root.status), `${root.status}`);
  assert.equal(new URL(root.headers.get('location'), broker.url).pathname, '/demo/');
  const page = await request(broker.http, { path: '/demo/' });
  assert.equal(page.status, 200);
  assert.match(page.headers.get('content-type'), /^text\/html/);
  const used = [...page.text.matchAll(/(?:src|href)="([^"#]+)"/g)].map((m) => m[1]).filter((url) => !/^(data|https?):/.test(url));
  assert.ok(used.length >= 2);
  for (const name of used) {
    const file = await request(broker.http, { path: new URL(name, `${broker.url}/demo/`).pathname });
    assert.equal(file.status, 200, name);
    assert.ok(file.body.length > 0);
    const tag = file.headers.get('etag');
    if (tag) {
      const same = await request(broker.http, { path: new URL(name, `${broker.url}/demo/`).pathname, headers: { 'If-None-Match': tag } });
      assert.equal(same.status, 304);
    }
  }
  assert.equal((await request(broker.http, { path: '/demo/../README.md' })).status >= 400, true);
});

broker_test("POST /demo/cut breaks the caller's streams without a last chunk, and they resume", { args: ['--demo'], small: true }, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c');
  await publish(broker, { channel: 'c', payload: 1 });
  await client.received(1);
  const answer = await request(broker.http, { method: 'POST', path: '/demo/cut', body: '' });
  assert.ok(answer.status >= 200 && answer.status < 300, `${answer.status} ${answer.text}`);
  const how = await client.closed();
  assert.ok(['eof', 'reset'].includes(how), how);
  await publish(broker, { channel: 'c', payload: 2 });
  const again = await subscribe(broker, '/sse?channels=c', { keep: client });
  assert.equal((await again.received(1))[0].json.payload, 2);
  again.cut();
});

broker_test('/demo/cut is for POST only', { args: ['--demo'] }, async (broker) => {
  const answer = await request(broker.http, { path: '/demo/cut' });
  assert.equal(answer.status, 405);
});
