// A real Kafka (KRaft; tools/kafka has it) as child processes, on ports and a directory of its own.
//
// Starting a JVM takes seconds, so a test file has one Kafka for all its tests (shared_kafka), each test topics of its
// own. What is asked often goes through kafkajs or kcat; Kafka's own tools (`tool`) are for what only they can do.
// The nodes end with the process that started them, however it ends (PR_SET_PDEATHSIG).

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import kafkajs from 'kafkajs';
import { temporary_directory } from './broker.mjs';
import { make_certificates } from './kafka_tls.mjs';
import { eventually, pass_ms, patience_ms, stand_still, within } from './wait.mjs';

const script = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../../tools/kafka');
const host = '127.0.0.1';

/** Users of the SASL listeners. */
export const users = { alice: 'alice-secret', bob: 'bob-secret' };

/**
 * A port that is free now, below those that the system hands out by itself: it stays free for a restart on it. Another
 * process may still be quicker; the node then does not start, and its ports are chosen anew.
 */
async function free_port() {
  for (;;) {
    const port = 12_000 + Math.floor(Math.random() * 20_000);
    const free = await new Promise((resolve) => {
      const server = net.createServer();
      server.once('error', () => resolve(false));
      server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

/** A child that ends with us. Resolves to { code, signal, stdout, stderr }. */
function start_process(command, args, { input, stdin, env } = {}) {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', command, ...args], { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  const out = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text) => (out.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text) => (out.stderr += text));
  child.stdin.on('error', () => {}); /* it ended before it had read everything: its status tells */
  if (!stdin) child.stdin.end(input ?? '');
  const ended = new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, ...out }));
  });
  ended.catch(() => {});
  return { child, out, ended };
}

/** Runs a command to its end; resolves to its standard output. */
async function run(command, args, options = {}) {
  const { child, out, ended } = start_process(command, args, options);
  try {
    const { code, signal } = await within(ended, () => `the end of ${command} ${args.join(' ')}: ${out.stderr}`, 4 * patience_ms);
    assert.equal(signal ?? code, 0, `${command} ${args.join(' ')}: ${out.stdout}${out.stderr}`);
    return out.stdout;
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
}

/** One process of the cluster: start, stop, kill (-9), pause (SIGSTOP), resume (SIGCONT). */
class Node {
  constructor(cluster, id) {
    this.cluster = cluster;
    this.id = id;
    this.running = false;
    this.file = path.join(cluster.directory, `node-${id}.properties`);
  }

  start() {
    assert.ok(!this.running, `node ${this.id} was stopped`);
    this.process = start_process(script, ['node', this.file], { env: { KAFKA_CLUSTER_ID: this.cluster.id } });
    this.running = true;
    this.process.ended.then(() => (this.running = false)).catch(() => (this.running = false));
  }

  #end() {
    return within(this.process.ended, () => `the end of Kafka's node ${this.id}`);
  }

  async stop() {
    this.process.child.kill('SIGTERM');
    await this.#end();
  }

  async kill() {
    this.process.child.kill('SIGKILL');
    await this.#end();
  }

  async pause() {
    await stand_still(this.process.child.pid);
  }

  resume() {
    this.process.child.kill('SIGCONT');
  }

  get log() {
    return this.process ? this.process.out.stdout + this.process.out.stderr : '';
  }
}

/**
 * options:
 *   nodes       1 or 3
 *   listeners   beside PLAINTEXT: 'SSL', 'SASL_SSL' (SCRAM-SHA-256), 'SASL_PLAINTEXT' (PLAIN); `users` may log in
 *   acls        true: who is not on PLAINTEXT may do only what `allow` allowed
 *   properties  more of Kafka's own
 */
export class Kafka {
  static async start(options = {}) {
    const kafka = new Kafka(options);
    try {
      for (let tries = 1; ; tries++) {
        await kafka.#configure();
        try {
          await kafka.start();
          break;
        } catch (error) {
          /* Somebody else was quicker with one of the ports. */
          if (tries === 5 || !/BindException|Address already in use/.test(error.message)) throw error;
          await kafka.#kill_all();
        }
      }
      if (kafka.listeners.includes('SASL_SSL')) await kafka.#add_scram_users();
    } catch (error) {
      await kafka.dispose();
      throw error;
    }
    return kafka;
  }

  constructor(options) {
    this.options = options;
    this.directory = temporary_directory();
    this.id = randomBytes(16).toString('base64url');
    this.nodes = Array.from({ length: options.nodes ?? 1 }, (_, i) => new Node(this, i + 1));
    this.listeners = ['PLAINTEXT', ...(options.listeners ?? [])];
    this.producers = new Set(); /* processes that have not ended */
  }

  async #configure() {
    const tls = this.listeners.some((name) => name.endsWith('SSL'));
    if (tls) this.ca = make_certificates(this.directory).ca;
    const ports = new Set();
    while (ports.size < this.nodes.length * (this.listeners.length + 1)) ports.add(await free_port());
    const next = [...ports];
    for (const node of this.nodes) {
      node.controller = next.shift();
      node.ports = Object.fromEntries(this.listeners.map((name) => [name, next.shift()]));
    }
    for (const node of this.nodes) {
      const lines = Object.entries(this.#properties(node)).map(([name, value]) => `${name}=${value}\n`);
      fs.writeFileSync(node.file, lines.join(''));
    }
  }

  #properties(node) {
    const replicas = Math.min(3, this.nodes.length);
    const addresses = this.listeners.map((name) => `${name}://${host}:${node.ports[name]}`).join(',');
    const properties = {
      'process.roles': 'broker,controller',
      'node.id': node.id,
      'controller.quorum.voters': this.nodes.map((each) => `${each.id}@${host}:${each.controller}`).join(','),
      listeners: `${addresses},CONTROLLER://${host}:${node.controller}`,
      'advertised.listeners': addresses,
      'inter.broker.listener.name': 'PLAINTEXT',
      'controller.listener.names': 'CONTROLLER',
      'listener.security.protocol.map': ['CONTROLLER:PLAINTEXT', ...this.listeners.map((name) => `${name}:${name}`)].join(','),
      'log.dirs': path.join(this.directory, `data-${node.id}`),
      'auto.create.topics.enable': false,
      'offsets.topic.replication.factor': replicas,
      'offsets.topic.num.partitions': 1,
      'transaction.state.log.replication.factor': replicas,
      'transaction.state.log.min.isr': 1,
      'transaction.state.log.num.partitions': 1,
      'group.initial.rebalance.delay.ms': 0,
      /* A test that deletes records or compacts waits for it. */
      'log.retention.check.interval.ms': 1000,
      'log.cleaner.backoff.ms': 500,
      /* How long a killed node counts as being there: so long it cannot come back, and its partitions have no leader. */
      'broker.session.timeout.ms': 4000,
      'broker.heartbeat.interval.ms': 500,
    };
    if (this.listeners.some((name) => name.endsWith('SSL'))) {
      Object.assign(properties, {
        'ssl.keystore.type': 'PEM',
        'ssl.keystore.location': path.join(this.directory, 'server.pem'),
        'ssl.truststore.type': 'PEM',
        'ssl.truststore.location': path.join(this.directory, 'ca.pem'),
      });
    }
    if (this.listeners.some((name) => name.startsWith('SASL'))) {
      const security = 'org.apache.kafka.common.security';
      const known = Object.entries(users).map(([name, secret]) => ` user_${name}="${secret}"`).join('');
      properties['sasl.enabled.mechanisms'] = 'PLAIN,SCRAM-SHA-256';
      properties['listener.name.sasl_plaintext.plain.sasl.jaas.config'] = `${security}.plain.PlainLoginModule required${known};`;
      properties['listener.name.sasl_plaintext.sasl.enabled.mechanisms'] = 'PLAIN';
      properties['listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config'] = `${security}.scram.ScramLoginModule required;`;
      properties['listener.name.sasl_ssl.sasl.enabled.mechanisms'] = 'SCRAM-SHA-256';
    }
    if (this.options.acls) {
      properties['authorizer.class.name'] = 'org.apache.kafka.metadata.authorizer.StandardAuthorizer';
      properties['super.users'] = 'User:ANONYMOUS';
    }
    return { ...properties, ...this.options.properties };
  }

  async #add_scram_users() {
    for (const [name, secret] of Object.entries(users)) {
      await this.tool('kafka.admin.ConfigCommand', ['--alter', '--add-config', `SCRAM-SHA-256=[password=${secret}]`, '--entity-type', 'users', '--entity-name', name]);
    }
  }

  /** Starts the nodes that do not run, and waits until metadata names all nodes. */
  async start() {
    for (const node of this.nodes) if (!node.running) node.start();
    await this.ready();
  }

  /** Until metadata names all nodes that run. */
  async ready() {
    const running = this.nodes.filter((node) => node.running);
    const answers = async () => {
      for (const node of running) {
        if (!node.running) throw new Error(`Kafka's node ${node.id} ended:\n${node.log}`);
      }
      try {
        const { brokers } = await this.admin((admin) => admin.describeCluster());
        return running.every((node) => brokers.some((broker) => broker.nodeId === node.id));
      } catch {
        return false;
      }
    };
    await eventually(answers, () => `Kafka's metadata of all nodes:\n${this.nodes.map((node) => node.log).join('\n')}`, 4 * patience_ms);
  }

  /** HOST:PORT of all nodes, for clients. */
  address(listener = 'PLAINTEXT') {
    return this.nodes.map((node) => `${host}:${node.ports[listener]}`).join(',');
  }

  get brokers() {
    return this.address();
  }

  client(options = {}) {
    return new kafkajs.Kafka({
      clientId: 'tickertape-test',
      brokers: this.brokers.split(','),
      logLevel: kafkajs.logLevel.NOTHING,
      connectionTimeout: patience_ms,
      requestTimeout: patience_ms,
      retry: { initialRetryTime: 50, maxRetryTime: 200, retries: 10 },
      ...options,
    });
  }

  /** Runs `use(admin)` with an administrator's connection of its own. */
  async admin(use, options) {
    for (let tries = 1; ; tries++) {
      const admin = this.client(options).admin();
      try {
        await admin.connect();
        return await use(admin);
      } catch (error) {
        /* Nodes that have just come name a controller before they list it; nothing was asked of it yet. */
        if (error.name !== 'KafkaJSBrokerNotFound' || tries === 100) throw error;
      } finally {
        await admin.disconnect();
      }
      await pass_ms(50);
    }
  }

  /** Makes a topic; with a configuration, e.g. { 'cleanup.policy': 'compact' }. Resolves when it has leaders. */
  async create_topic(topic, { partitions = 1, config = {} } = {}) {
    const entries = Object.entries(config).map(([name, value]) => ({ name, value: String(value) }));
    await this.admin((admin) =>
      admin.createTopics({ waitForLeaders: false, topics: [{ topic, numPartitions: partitions, replicationFactor: this.nodes.length, configEntries: entries }] }),
    );
    await this.#has_partitions(topic, partitions);
    return topic;
  }

  /** { partitionId, leader, replicas, isr } of each partition; [] of a topic that does not exist. */
  async partitions(topic) {
    try {
      const { topics } = await this.admin((admin) => admin.fetchTopicMetadata({ topics: [topic] }));
      return topics[0].partitions.sort((a, b) => a.partitionId - b.partitionId);
    } catch (error) {
      if (error.type === 'UNKNOWN_TOPIC_OR_PARTITION') return [];
      throw error;
    }
  }

  #has_partitions(topic, count) {
    const led = async () => {
      const list = await this.partitions(topic).catch(() => []);
      if (list.length !== count || list.some((partition) => partition.leader <= 0)) return false;
      /* A leader is named before it leads. */
      return this.ends(topic).catch(() => false);
    };
    return eventually(led, `${count} partitions of ${topic} with leaders`);
  }

  async delete_topic(topic) {
    await this.admin((admin) => admin.deleteTopics({ topics: [topic] }));
    await eventually(async () => (await this.partitions(topic).catch(() => [0])).length === 0, `the end of ${topic}`);
  }

  async add_partitions(topic, count) {
    await this.admin((admin) => admin.createPartitions({ topicPartitions: [{ topic, count }] }));
    await this.#has_partitions(topic, count);
    /* The producer would leave out what goes to partitions that it has not heard of. */
    const producer = await this.producing;
    this.producing = undefined;
    await producer?.disconnect();
  }

  /** Everything below `offset` is gone, as by retention. */
  async delete_records(topic, partition, offset) {
    await this.admin(async (admin) => {
      await admin.fetchTopicOffsets(topic); /* else it does not know the leaders */
      await admin.deleteTopicRecords({ topic, partitions: [{ partition, offset: String(offset) }] });
    });
  }

  /** Another node than the present leader becomes the leader; resolves to the new one's id. */
  async move_leader(topic, partition) {
    const { leader, replicas } = (await this.partitions(topic))[partition];
    const rest = replicas.filter((id) => id !== leader);
    assert.ok(rest.length > 0, 'there is another replica');
    await this.admin((admin) => admin.alterPartitionReassignments({ topics: [{ topic, partitionAssignment: [{ partition, replicas: rest }] }] }));
    const moved = async () => {
      const now = (await this.partitions(topic))[partition].leader;
      return now > 0 && now !== leader && now;
    };
    return eventually(moved, `another leader of ${topic}/${partition}`);
  }

  /** Allows `user` the operations (kafkajs.AclOperationTypes) on a topic, a group, ... */
  async allow(user, resource, name, operations) {
    const acl = operations.map((operation) => ({
      resourceType: kafkajs.AclResourceTypes[resource],
      resourceName: name,
      resourcePatternType: kafkajs.ResourcePatternTypes.LITERAL,
      principal: `User:${user}`,
      host: '*',
      operation: kafkajs.AclOperationTypes[operation],
      permissionType: kafkajs.AclPermissionTypes.ALLOW,
    }));
    await this.admin((admin) => admin.createAcls({ acl }));
  }

  /** [{ low, high }] of each partition, as numbers; `high` is the next offset. */
  async ends(topic) {
    const offsets = await this.admin((admin) => admin.fetchTopicOffsets(topic));
    return offsets.sort((a, b) => a.partition - b.partition).map(({ low, high }) => ({ low: Number(low), high: Number(high) }));
  }

  /**
   * Produces [{ key, value, headers, partition, timestamp }] (value null: a tombstone) and resolves when all nodes have
   * them. Keys go to partitions as Java's producer puts them (murmur2).
   */
  async produce(topic, messages) {
    this.producing ??= this.#connect_producer({ retry: { retries: 1000, maxRetryTime: 500 } });
    const producer = await this.producing;
    return producer.send({ topic, acks: -1, messages });
  }

  async #connect_producer(options) {
    const producer = this.client().producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner, ...options });
    await producer.connect();
    return producer;
  }

  /** A transaction with these messages; `abort` leaves a hole of their offsets. Its end marker takes an offset, too. */
  async transaction(topic, messages, { abort = false } = {}) {
    this.transacting ??= this.#connect_producer({
      transactionalId: `test-${this.id}`,
      maxInFlightRequests: 1,
      idempotent: true,
      retry: { retries: 100, maxRetryTime: 500 },
    });
    const transaction = await (await this.transacting).transaction();
    await transaction.send({ topic, acks: -1, messages });
    await (abort ? transaction.abort() : transaction.commit());
  }

  /** Runs kcat on the PLAINTEXT listener; resolves to its output. */
  kcat(args, input) {
    return run('kcat', ['-b', this.brokers, ...args], { input });
  }

  /** Produces lines `KEY\tVALUE` with kcat (whose partitioner is CRC32 of the key). */
  async kcat_produce(topic, pairs, args = []) {
    await this.kcat(['-P', '-t', topic, '-K', '\t', '-X', 'acks=all', ...args], pairs.map(([key, value]) => `${key}\t${value}\n`).join(''));
  }

  /** Everything in a topic: [{ partition, offset, ts, key, payload, headers }], in order within each partition. */
  async read(topic) {
    const text = await this.kcat(['-C', '-q', '-t', topic, '-o', 'beginning', '-e', '-J']);
    return text.split('\n').filter((line) => line !== '').map((line) => JSON.parse(line));
  }

  /** One of Kafka's own tools to its end; resolves to its output. */
  tool(name, args, input) {
    return run(script, ['tool', name, '--bootstrap-server', this.brokers, ...args], { input });
  }

  /** Java's console producer: write(key, value), then end(), which resolves when everything is acknowledged. */
  java_producer(topic, args = []) {
    return this.#line_producer(script, [
      ...['tool', 'kafka.tools.ConsoleProducer', '--bootstrap-server', this.brokers, '--topic', topic],
      ...['--property', 'parse.key=true', ...args],
    ]);
  }

  /** The same with kcat (-E: it does not end because Kafka is away). */
  kcat_producer(topic, args = []) {
    return this.#line_producer('kcat', ['-P', '-E', '-b', this.brokers, '-t', topic, '-K', '\t', '-X', 'acks=all', ...args]);
  }

  #line_producer(command, args) {
    const { child, out, ended } = start_process(command, args, { stdin: true });
    this.producers.add(child);
    child.on('close', () => this.producers.delete(child));
    return {
      write: (key, value) => child.stdin.write(`${key}\t${value}\n`),
      end: async () => {
        child.stdin.end();
        const { code, signal } = await within(ended, () => `the end of ${command}: ${out.stderr}`, 4 * patience_ms);
        assert.equal(signal ?? code, 0, out.stdout + out.stderr);
      },
    };
  }

  async #kill_all() {
    for (const node of this.nodes) if (node.running) await node.kill();
  }

  async dispose() {
    for (const child of this.producers) child.kill('SIGKILL');
    for (const producer of [this.producing, this.transacting]) {
      await producer?.then((each) => each.disconnect()).catch(() => {});
    }
    await this.#kill_all();
    fs.rmSync(this.directory, { recursive: true, force: true });
  }
}

/** One Kafka for a whole test file: a function that resolves to it, started with the first test that asks. */
export function shared_kafka(options = {}) {
  let starting;
  after(async () => {
    const kafka = await starting?.catch(() => undefined);
    await kafka?.dispose();
  });
  return () => (starting ??= Kafka.start(options));
}
