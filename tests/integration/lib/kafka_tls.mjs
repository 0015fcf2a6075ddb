// Certificates for Kafka's TLS listeners, made by openssl: an authority of the test, and a server of its at 127.0.0.1.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

const extensions = 'subjectAltName=IP:127.0.0.1,DNS:localhost\n';

/** Writes ca.pem and server.pem (key and chain, as Kafka's PEM stores want them) into `directory`; { ca } is the former's path. */
export function make_certificates(directory) {
  const at = (name) => path.join(directory, name);
  const openssl = (...args) => execFileSync('openssl', args, { cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  if (!fs.existsSync(at('server.pem'))) {
    openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '2', '-subj', '/CN=tickertape test');
    openssl('req', ...key, '-keyout', 'server.key', '-out', 'server.csr', '-subj', '/CN=127.0.0.1');
    fs.writeFileSync(at('server.ext'), extensions);
    openssl('x509', '-req', '-in', 'server.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-out', 'server.crt', '-days', '2', '-extfile', 'server.ext');
    fs.writeFileSync(at('server.pem'), fs.readFileSync(at('server.key')) + fs.readFileSync(at('server.crt')) + fs.readFileSync(at('ca.pem')));
  }
  return { ca: at('ca.pem') };
}
