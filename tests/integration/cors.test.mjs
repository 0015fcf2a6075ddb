// Which pages of other origins may use the broker.

import assert from 'node:assert/strict';
import { broker_test } from './lib/broker.mjs';
import { request } from './lib/http.mjs';
import { post } from './lib/publish.mjs';
import { SseClient } from './lib/sse.mjs';

const args = ['--allow-origin=https://app.example.com', '--allow-origin=https://*.example.org', '--allow-origin=http://localhost:3000'];
const yes = ['https://app.example.com', 'https://a.example.org', 'https://a.b.example.org', 'http://localhost:3000'];
const no = ['https://example.com', 'http://app.example.com', 'https://app.example.com:444', 'https://app.example.com.evil.net', 'https://example.org', 'https://evilexample.org', 'http://a.example.org', 'http://localhost:3001', 'null', 'https://a.example.org.evil.net'];

const vary = (headers) => (headers.get?.('vary') ?? headers.vary ?? '').toLowerCase().split(/, */);

broker_test('streams carry the headers for allowed origins, and none for others', { args }, async (broker) => {
  for (const origin of yes) {
    const client = await SseClient.open(broker, '/sse?channels=c', { headers: { Origin: origin } });
    assert.equal(client.headers.get('access-control-allow-origin'), origin);
    assert.equal(client.headers.get('access-control-allow-credentials'), 'true');
    assert.ok(vary(client.headers).includes('origin'));
    client.cut();
  }
  for (const origin of no) {
    const answer = await SseClient.open(broker, '/sse?channels=c', { headers: { Origin: origin } }).then(
      (client) => (client.cut(), client.head),
      (error) => ({ status: error.status, headers: new Map() }),
    );
    assert.equal(answer.headers.has('access-control-allow-origin'), false, origin);
  }
});

broker_test('a preflight is answered for allowed origins', { args }, async (broker) => {
  const preflight = (origin, method, path = '/publish') =>
    request(broker.http, {
      method: 'OPTIONS',
      path,
      headers: { Origin: origin, 'Access-Control-Request-Method': method, 'Access-Control-Request-Headers': 'content-type, idempotency-key' },
    });
  for (const path of ['/publish', '/sse']) {
    const answer = await preflight(yes[0], 'POST', path);
    assert.ok([200, 204].includes(answer.status), `${answer.status}`);
    assert.equal(answer.headers.get('access-control-allow-origin'), yes[0]);
    assert.equal(answer.headers.get('access-control-allow-credentials'), 'true');
    assert.ok(answer.headers.get('access-control-allow-methods').split(/, */).includes('POST'));
    assert.ok(answer.headers.get('access-control-allow-headers').toLowerCase().split(/, */).includes('content-type'));
    assert.ok(vary(answer.headers).includes('origin'));
  }
  const refused = await preflight(no[0], 'POST');
  assert.equal(refused.headers.has('access-control-allow-origin'), false);
});

broker_test('publishing and its errors can be read by allowed pages', { args }, async (broker) => {
  for (const body of ['{"channel":"c","payload":1}', 'rubbish']) {
    const answer = await post(broker, '/publish', body, { headers: { origin: yes[1] } });
    assert.equal(answer.headers['access-control-allow-origin'], yes[1], answer.text);
  }
});

broker_test('without --allow-origin no page of another origin is allowed', {}, async (broker) => {
  const client = await SseClient.open(broker, '/sse?channels=c', { headers: { Origin: yes[0] } }).catch(() => undefined);
  assert.equal(client?.headers.has('access-control-allow-origin') ?? false, false);
  client?.cut();
});

broker_test('OPTIONS without a preflight tells the methods', {}, async (broker) => {
  const answer = await request(broker.http, { method: 'OPTIONS', path: '/sse' });
  assert.ok([200, 204].includes(answer.status), `${answer.status}`);
  assert.ok(answer.headers.get('allow').split(/, */).includes('GET'));
});
