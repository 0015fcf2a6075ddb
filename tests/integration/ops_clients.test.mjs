// /clients on the listener for operators: who follows, by lag, and the end of some of them.

import assert from 'node:assert/strict';
import net from 'node:net';
import { broker_test } from './lib/broker.mjs';
import { RawConnection, assert_error, request } from './lib/http.mjs';
import { metric } from './lib/metrics.mjs';
import { post, publish, publish_all, publish_lines } from './lib/publish.mjs';
import { subscribe } from './lib/sse.mjs';
import { eventually, logged } from './lib/wait.mjs';

const range = (n, f) => Array.from({ length: n }, (_, i) => f(i));
const session_of = (client) => client.all.find((event) => event.type === 'connected').json.session;
const ask = (broker, query = '', method = 'GET', headers = {}) => request(broker.ops, { method, path: `/clients${query}`, headers });

async function list(broker, query = '') {
  const answer = await ask(broker, query);
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.headers.get('cache-control'), 'no-store');
  const { clients, total, matched, limit } = answer.json;
  assert.ok(clients.length <= matched && matched <= total && clients.length <= limit);
  return answer.json;
}

async function ended(broker, query) {
  const answer = await ask(broker, query, 'DELETE');
  assert.equal(answer.status, 200, answer.text);
  return answer.json.ended;
}

/** Events until the client that does not read is behind what the kernel's buffers hold. */
async function flood_until_behind(broker, client) {
  const pad = 'x'.repeat(2000);
  let row;
  await eventually(async () => {
    await publish_lines(broker, range(500, (i) => ({ channel: 'a', payload: { i, pad } })));
    row = (await list(broker, `?session=${session_of(client)}`)).clients[0];
    return row.lagEvents > 1000;
  }, () => `a lag of a thousand events: ${JSON.stringify(row)}`);
}

broker_test('each client is described', { small: true }, async (broker) => {
  const before = Math.floor(Date.now() / 1000) * 1000;
  const client = await subscribe(broker, '/sse?channels=a,b.*,c&id=dash%22board&policy=disconnect');
  const all = await subscribe(broker, '/sse');
  const many = await subscribe(broker, `/sse?channels=${range(20, (i) => `${'n'.repeat(100)}${i}`)}&id=many`);
  const { clients, total, matched, sort, limit } = await list(broker);
  assert.deepEqual([total, matched, sort, limit, clients.length], [3, 3, 'lag', 100, 3]);
  const row = clients.find(({ session }) => session === session_of(client));
  const { socket } = client.raw;
  assert.ok(row.connectedAt >= before && row.connectedAt <= Date.now(), `connectedAt ${row.connectedAt}`);
  assert.ok(row.silentMs >= 0);
  assert.deepEqual({ ...row, connectedAt: 0, silentMs: 0, shard: 0 }, {
    session: session_of(client), label: 'dash"board', subject: null, address: `127.0.0.1:${socket.localPort}`, shard: 0,
    transport: 'sse', state: 'live', policy: 'disconnect', channels: { count: 3, first: row.channels.first },
    lagEvents: 0, lagMs: 0, ackedLagEvents: null, ackedAt: null, outboxBytes: 0, outboxFrames: 0, silentMs: 0, connectedAt: 0,
  });
  assert.deepEqual([...row.channels.first].sort(), ['a', 'b.*', 'c']);
  const other = clients.find(({ session }) => session === session_of(all));
  assert.deepEqual([other.label, other.policy, other.channels], [null, 'replay', { count: 1, first: ['*'] }]);
  const third = clients.find(({ label }) => label === 'many');
  assert.equal(third.channels.count, 20);
  assert.equal(third.channels.first.length, 2, 'as many as fit 260 bytes');
  for (const c of [client, all, many]) c.cut();
  await eventually(async () => (await list(broker)).total === 0, 'nobody');
});

broker_test('filters', { shards: 3, small: true }, async (broker) => {
  const clients = await Promise.all(range(6, (i) => subscribe(broker, `/sse?channels=a&id=${i % 2 ? 'odd' : 'even'}`)));
  const elsewhere = await subscribe(broker, '/sse?channels=a', { localAddress: '127.0.0.9' });
  const sessions = async (query) => (await list(broker, query)).clients.map(({ session }) => session).sort();
  const of = (...some) => some.map(session_of).sort();
  assert.deepEqual(await sessions('?label=odd'), of(clients[1], clients[3], clients[5]));
  assert.deepEqual(await sessions(`?session=${session_of(clients[4])}`), of(clients[4]));
  assert.deepEqual(await sessions(`?session=${session_of(clients[4])}&label=odd`), []);
  assert.deepEqual(await sessions('?session=0-0-1-0'), []);
  assert.deepEqual(await sessions('?address=127.0.0.9'), of(elsewhere));
  assert.deepEqual(await sessions(`?address=127.0.0.1:${clients[2].raw.socket.localPort}`), of(clients[2]));
  assert.deepEqual(await sessions('?address=::1'), []);
  assert.deepEqual(await sessions('?state=live,catchup&transport=sse'), of(...clients, elsewhere));
  assert.deepEqual(await sessions('?state=opening'), []);
  assert.deepEqual(await sessions('?sub=u42'), [], 'nobody has a subject without tokens');
  assert.equal((await sessions('?limit=2&whatever=1')).length, 2);
  const oldest = (await list(broker, '?sort=age')).clients.map(({ connectedAt }) => connectedAt);
  assert.deepEqual(oldest, [...oldest].sort((a, b) => a - b));
  for (const c of [...clients, elsewhere]) c.cut();
});

broker_test('what is wrong with a request is said', {}, async (broker) => {
  for (const [query, ...words] of [
    ['?limit=0', 'limit', '"0"', '1 to 2000'], ['?limit=2001', 'limit', '2001', '1 to 2000'], ['?limit=x', 'limit', '"x"'],
    ['?sort=size', 'sort', 'size', 'lag, acked, outbox, age'], ['?state=slow', 'state', 'slow', 'live'], ['?state=', 'state'],
    ['?state=live,,', 'state'], ['?transport=carrier', 'transport', 'sse'], ['?address=here', 'address', 'here', 'IP'],
    ['?address=', 'address'], ['?session=', 'session'], [`?session=${'x'.repeat(100)}`, 'session'], ['?label=', 'label'],
    [`?label=${'x'.repeat(65)}`, 'label'], [`?label=${'x'.repeat(300)}`, 'label', '200 bytes'], ['?label=%ZZ', 'label', 'hex'],
  ]) {
    assert_error(await ask(broker, query), 400, ...words);
  }
  for (const [query, ...words] of [
    ['', 'at least one', 'session, label'], ['?state=live', 'at least one'], ['?label=x&limit=1', 'limit', 'allowed: session'],
    ['?label=x&stat=live', 'stat', 'allowed: session'], ['?transport=sse', 'at least one'],
  ]) {
    assert_error(await ask(broker, query, 'DELETE'), 400, ...words);
  }
  const other = await ask(broker, '', 'POST');
  assert.equal(other.status, 405);
  assert.match(other.headers.get('allow'), /GET, HEAD, DELETE/);
  const head = await ask(broker, '', 'HEAD');
  assert.equal(head.status, 200);
});

broker_test('a client that does not read is in front', { args: ['--outbox-bytes=16KiB', '--tail-bytes=2MiB', '--log-segment-bytes=2MiB'], small: true }, async (broker) => {
  const slow = await subscribe(broker, '/sse?channels=a&id=slow');
  const others = await Promise.all(range(5, () => subscribe(broker, '/sse?channels=a', { on_event: () => {} })));
  slow.pause();
  await flood_until_behind(broker, slow);
  const head = (await request(broker.ops, { path: '/status' })).json.partitions[0].head;
  for (const client of others) await client.received(head, 60_000);
  await eventually(async () => (await list(broker)).clients.slice(1).every(({ lagEvents }) => lagEvents === 0), 'no lag of the others');
  for (const sort of ['lag', 'outbox']) {
    const { clients } = await list(broker, `?sort=${sort}`);
    assert.equal(clients[0].session, session_of(slow), sort);
    const keys = clients.map((row) => (sort === 'lag' ? row.lagEvents : row.outboxBytes));
    assert.deepEqual(keys, [...keys].sort((a, b) => b - a), sort);
  }
  const [row] = (await list(broker, '?limit=1')).clients;
  assert.equal(row.label, 'slow');
  assert.equal(row.state, 'catchup');
  assert.ok(row.lagEvents > 1000 && row.lagEvents <= head);
  assert.ok(row.lagMs > 0 && row.outboxBytes > 0 && row.outboxFrames > 0, JSON.stringify(row));
  slow.resume();
  await slow.received(head, 60_000);
  await eventually(async () => (await list(broker)).clients.every(({ lagEvents, lagMs, state }) => lagEvents === 0 && lagMs === 0 && state === 'live'), 'it is live again');
  for (const c of [slow, ...others]) c.cut();
});

broker_test('a conflating client is shown as one, with what waits for it', {}, async (broker) => {
  const slow = await subscribe(broker, '/sse?channels=a&id=slow&policy=conflate');
  const ticked = await subscribe(broker, '/sse?channels=b&id=ticked&max_rate=0.01');
  slow.pause();
  await eventually(async () => {
    await publish_lines(broker, range(200, (i) => ({ channel: 'a', payload: { i, pad: 'x'.repeat(2000) } })));
    return (await list(broker, '?state=conflating&label=slow')).matched === 1;
  }, 'conflating');
  await publish_lines(broker, range(5, (i) => ({ channel: 'b', payload: i })));
  await ticked.received(1);
  await publish_lines(broker, range(5, (i) => ({ channel: 'b', payload: i })));
  const row = await eventually(async () => (await list(broker, '?label=ticked')).clients.find(({ outboxFrames }) => outboxFrames > 0), 'an event that waits for the tick');
  assert.deepEqual([row.state, row.policy], ['conflating', 'max_rate']);
  assert.ok(row.lagEvents > 0 && row.outboxBytes > 0 && row.lagMs >= 0, JSON.stringify(row));
  const [first] = (await list(broker, '?label=slow')).clients;
  assert.deepEqual([first.state, first.policy], ['conflating', 'conflate']);
  assert.ok(first.lagEvents > 0 && first.outboxBytes > 0 && first.outboxFrames > 0, JSON.stringify(first));
  for (const c of [slow, ticked]) c.cut();
});

broker_test('what is acknowledged is shown, and sorted by', { shards: 2 }, async (broker) => {
  const clients = await Promise.all(range(3, () => subscribe(broker, '/sse?channels=a')));
  const ids = await publish_all(broker, range(10, (i) => ({ channel: 'a', payload: i })));
  for (const client of clients) await client.received(10);
  for (const [client, id] of [[clients[0], ids[8]], [clients[1], ids[2]]]) {
    assert.equal((await post(broker, '/ack', JSON.stringify({ session: session_of(client), cursor: id }))).status, 200);
  }
  const rows = (await list(broker, '?sort=acked')).clients;
  assert.deepEqual(rows.map(({ session }) => session), [clients[1], clients[0], clients[2]].map(session_of));
  assert.deepEqual(rows.map(({ ackedLagEvents }) => ackedLagEvents), [7, 1, null]);
  assert.ok(rows[0].ackedAt > Date.now() - 600_000 && rows[2].ackedAt === null);
  await publish(broker, { channel: 'b', payload: 1 });
  assert.equal((await list(broker, `?session=${session_of(clients[0])}`)).clients[0].ackedLagEvents, 2, 'it grows with the log');
  for (const c of clients) c.cut();
});

broker_test('DELETE ends streams, which resume without a loss', { shards: 2, small: true }, async (broker) => {
  const clients = await Promise.all(range(4, (i) => subscribe(broker, `/sse?channels=a&id=c${i % 2}`)));
  await publish(broker, { channel: 'a', payload: 0 });
  for (const client of clients) await client.received(1);
  assert.equal(await ended(broker, `?session=${session_of(clients[0])}`), 1);
  assert.equal(await clients[0].closed(), 'eof', 'without the last chunk: fetch-based clients come back, too');
  assert.ok(clients[0].all.at(-1).json.reconnect > 0, 'told when to come back');
  await eventually(async () => (await list(broker)).total === 3, 'it is gone');
  assert.equal(await ended(broker, `?session=${session_of(clients[0])}`), 0, 'gone already');
  await publish(broker, { channel: 'a', payload: 1 });
  const again = await subscribe(broker, '/sse?channels=a', { keep: clients[0] });
  await again.received(1);
  assert.deepEqual(again.events.map(({ json }) => json.payload), [1]);
  assert.equal(await ended(broker, '?label=c1&address=127.0.0.1'), 2);
  assert.equal(await ended(broker, '?label=c0&state=catchup'), 0);
  await clients[1].closed();
  await clients[3].closed();
  assert.match((await request(broker.ops, { path: '/metrics' })).text, /^tickertape_closes_total\{reason="operator"\} 3$/m);
  await logged(broker, /clients_ended/);
  clients[2].cut();
  again.cut();
});

broker_test('DELETE ends a client that does not read', { args: ['--outbox-bytes=16KiB'] }, async (broker) => {
  const slow = await subscribe(broker, '/sse?channels=a');
  slow.pause();
  await flood_until_behind(broker, slow);
  assert.equal(await ended(broker, `?session=${session_of(slow)}`), 1);
  await eventually(async () => (await list(broker)).total === 0, 'it is gone although it took nothing');
  assert.match((await request(broker.ops, { path: '/metrics' })).text, /^tickertape_closes_total\{reason="operator"\} 1$/m);
  slow.cut();
});

broker_test('a page of another origin ends nobody', {}, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=a&id=x');
  const from = (origin) => ask(broker, '?label=x', 'DELETE', { Origin: origin });
  assert_error(await from('https://evil.example'), 403, 'Origin', 'evil.example');
  assert_error(await from('null'), 403, 'Origin');
  assert_error(await from(`http://${broker.http.host}:${broker.http.port}`), 403, 'Origin');
  assert.equal((await list(broker)).total, 1);
  assert.equal((await from(`http://${broker.ops.host}:${broker.ops.port}`)).json.ended, 1);
  await client.closed();
});

/** Streams whose bytes nobody looks at. */
async function crowd(broker, count) {
  const sockets = [];
  for (let i = 0; i < count; i++) {
    const socket = net.connect(broker.http);
    socket.on('error', () => {});
    socket.write(`GET /sse?channels=a,c${i % 7}&id=crowd${i % 10} HTTP/1.1\r\nHost: x\r\n\r\n`);
    socket.resume();
    sockets.push(socket);
    if (i % 100 === 99) await eventually(async () => (await metric(broker, 'clients{transport="sse",state="live"}')) > i - 400, 'clients');
  }
  await eventually(async () => (await list(broker, '?state=live&limit=1')).matched === count, () => `${count} clients`);
  return sockets;
}

const turns = async (broker) => metric(broker, 'shard_turns_total{shard="0"}');

broker_test('thousands of clients are looked at in slices', { shards: 1 }, async (broker) => {
  const sockets = await crowd(broker, 3000);
  let before = await turns(broker);
  const { clients, matched } = await list(broker, '?limit=2000');
  assert.equal(matched, 3000);
  assert.equal(clients.length, 2000);
  assert.equal(new Set(clients.map(({ session }) => session)).size, 2000);
  /* 512 looks a turn; describing one costs 16. */
  assert.ok((await turns(broker)) - before >= (3000 + 2000 * 16) / 512 - 1, 'many turns for one answer');
  assert.equal((await list(broker, '?label=crowd3')).matched, 300);
  before = await turns(broker);
  assert.equal(await ended(broker, '?address=127.0.0.1'), 3000);
  assert.ok((await turns(broker)) - before >= 3000 * 5 / 512 - 1);
  await eventually(async () => (await list(broker)).total === 0, 'nobody is left');
  for (const socket of sockets) socket.destroy();
});

broker_test('many questions at once: some wait, others are told to come back, and whoever goes is forgotten', { shards: 2, small: true }, async (broker) => {
  const sockets = await crowd(broker, 600);
  const question = `GET /clients?limit=2000 HTTP/1.1\r\nHost: ${broker.ops.host}\r\nConnection: close\r\n\r\n`;
  for (let round = 0; round < 5; round++) {
    /* Twice as many as these are fewer than the connections that the listener takes. */
    const raws = await Promise.all(range(24, () => RawConnection.open(broker.ops)));
    for (const raw of raws) raw.send(question);
    const gone = raws.splice(0, 12);
    for (const raw of gone) raw.cut();
    const answers = await Promise.all(raws.map((raw) => raw.read_response({ method: 'GET' })));
    for (const answer of answers) {
      if (answer.status === 200) {
        assert.equal(JSON.parse(answer.body.toString('utf8')).clients.length, 600);
      } else {
        assert_error(answer, 503, 'questions are under way');
        assert.equal(answer.headers.get('retry-after'), '1');
      }
    }
    for (const raw of raws) raw.cut();
  }
  await eventually(async () => (await ask(broker)).status === 200, 'an answer after all of that');
  for (const socket of sockets) socket.destroy();
});

broker_test('more questions than may be under way get 503', { shards: 1 }, async (broker) => {
  const sockets = await crowd(broker, 2000);
  const question = `GET /clients?limit=2000 HTTP/1.1\r\nHost: ${broker.ops.host}\r\nConnection: close\r\n\r\n`;
  await eventually(async () => {
    const raws = await Promise.all(range(40, () => RawConnection.open(broker.ops)));
    for (const raw of raws) raw.send(question);
    const answers = await Promise.all(raws.map((raw) => raw.read_response({ method: 'GET' })));
    for (const raw of raws) raw.cut();
    const statuses = answers.map(({ status }) => status);
    assert.ok(statuses.every((status) => status === 200 || status === 503), String(statuses));
    assert.ok(statuses.filter((status) => status === 200).length >= 8);
    return statuses.includes(503);
  }, 'a 503');
  for (const socket of sockets) socket.destroy();
});

broker_test('it ends while a question runs', { shards: 2, args: ['--drain-ms=0', '--drain-delay-ms=0'], small: true }, async (broker) => {
  const sockets = await crowd(broker, 500);
  const raws = await Promise.all(range(6, () => RawConnection.open(broker.ops)));
  for (const raw of raws) raw.send('GET /clients?limit=2000 HTTP/1.1\r\nHost: x\r\n\r\n');
  await broker.stop();
  for (const socket of [...sockets, ...raws.map((raw) => raw.socket)]) socket.destroy();
});
