// The Kafka module beside BoringSSL: librdkafka is linked against OpenSSL, which has the same names. A small program
// (lib/kafka_symbols.c) stands for the broker; it talks to a real Kafka by TLS and SASL, and the dynamic linker tells
// who got whose names.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { binary, temporary_directory } from './lib/broker.mjs';
import { shared_kafka, users } from './lib/kafka.mjs';
import { patience_ms, within } from './lib/wait.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const module_path = path.join(path.dirname(path.resolve(binary)), 'tickertape-kafka.so');
const multiarch = execFileSync('gcc', ['-print-multiarch'], { encoding: 'utf8' }).trim();
const boringssl = process.env.BORINGSSL_PREFIX ? path.join(process.env.BORINGSSL_PREFIX, 'lib') : `/usr/lib/${multiarch}/android`;

/* The sanitizers refuse to open a library apart from the rest. */
const sanitized = /build\/(asan|tsan)\//.test(module_path);

const shared = shared_kafka({ listeners: ['SSL', 'SASL_SSL', 'SASL_PLAINTEXT'] });

function compile() {
  const program = path.join(temporary_directory(), 'kafka_symbols');
  const sources = ['tests/integration/lib/kafka_symbols.c', 'broker/kafka/module_open.c'];
  const link = [`-L${boringssl}`, `-Wl,-rpath,${boringssl},-z,now`, '-lssl', '-lcrypto'];
  execFileSync('gcc', ['-std=gnu17', '-D_GNU_SOURCE', '-I.', ...sources, '-o', program, ...link], { cwd: root });
  return program;
}

/** Runs the program; resolves to { status, output, bindings: [{ from, to, symbol }], opened: the libraries }. */
async function run(topic, properties) {
  const report = path.join(temporary_directory(), 'bindings');
  const list = Object.entries(properties).map(([name, value]) => `${name}=${value}`);
  const env = { ...process.env, LD_DEBUG: 'bindings,files', LD_DEBUG_OUTPUT: report };
  const child = spawn(compile(), [module_path, topic, ...list], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => (output += text));
  const ended = new Promise((resolve, reject) => child.on('error', reject).on('close', (code, signal) => resolve(signal ?? code)));
  const status = await within(ended, () => `the end of the program: ${output}`, 4 * patience_ms);
  const text = fs.readFileSync(`${report}.${child.pid}`, 'utf8');
  const bindings = [...text.matchAll(/binding file (\S+) \[\d+\] to (\S+) \[\d+\]: \w+ symbol `([^']+)'/g)].map(([, from, to, symbol]) => ({ from, to, symbol }));
  const opened = [...text.matchAll(/calling init: (\S+)/g)].map(([, file]) => file);
  return { status, output, bindings, opened };
}

const ours = (file) => file.startsWith(`${boringssl}/`);
const openssl = (file) => /\/lib(ssl|crypto)\.so/.test(file) && !ours(file);

function check_bindings({ status, output, bindings, opened }) {
  assert.equal(status, 0, output);
  const from = (name) => bindings.filter((binding) => path.basename(binding.from).startsWith(name));
  const program = from('kafka_symbols');
  assert.ok(program.some(({ to, symbol }) => symbol === 'SSL_CTX_new' && ours(to)), 'the program uses BoringSSL');
  assert.ok(from('librdkafka').some(({ to, symbol }) => symbol === 'SSL_CTX_new' && openssl(to)), 'librdkafka uses OpenSSL');
  for (const { from, to, symbol } of bindings) {
    const wants_ours = ours(from) || path.basename(from) === 'kafka_symbols';
    if (wants_ours) assert.ok(!openssl(to), `${symbol} of ${from} comes from ${to}`);
    else assert.ok(!ours(to), `${symbol} of ${from} comes from ${to}`);
  }
  /* Plugins of SASL would bind to whatever the program is linked against. */
  assert.deepEqual(opened.filter((file) => file.includes('/sasl2/')), []);
  assert.ok(opened.some((file) => openssl(file)), 'the report names what was opened');
}

const skip = sanitized && 'a sanitizer';

for (const [name, properties] of [
  ['SSL', (kafka) => ({ 'security.protocol': 'ssl', 'ssl.ca.location': kafka.ca })],
  ['SASL_SSL', (kafka) => ({ 'security.protocol': 'sasl_ssl', 'ssl.ca.location': kafka.ca, 'sasl.mechanisms': 'SCRAM-SHA-256', 'sasl.username': 'alice', 'sasl.password': users.alice })],
  ['SASL_PLAINTEXT', (kafka) => ({ 'security.protocol': 'sasl_plaintext', 'sasl.mechanisms': 'PLAIN', 'sasl.username': 'alice', 'sasl.password': users.alice })],
]) {
  test(`kafka module: ${name} to Kafka beside BoringSSL`, { skip }, async () => {
    const kafka = await shared();
    const topic = await kafka.create_topic(`secured-${name}`, { partitions: 3 });
    const result = await run(topic, { 'bootstrap.servers': kafka.address(name), ...properties(kafka) });
    assert.match(result.output, /^cluster \S+ partitions 3$/m);
    check_bindings(result);
  });
}

test('kafka module: a wrong password is the reason, and is not told', { skip }, async () => {
  const kafka = await shared();
  const topic = await kafka.create_topic('secured-wrong', { partitions: 1 });
  const { status, output } = await run(topic, {
    'bootstrap.servers': kafka.address('SASL_PLAINTEXT'),
    'security.protocol': 'sasl_plaintext',
    'sasl.mechanisms': 'PLAIN',
    'sasl.username': 'alice',
    'sasl.password': 'not-her-secret',
  });
  assert.equal(status, 5, output);
  assert.match(output, /^Kafka cannot be used: .*[Aa]uthentication/m);
  assert.doesNotMatch(output, /not-her-secret/);
});
