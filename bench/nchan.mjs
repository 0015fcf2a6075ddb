// Nchan (Debian's nginx with libnginx-mod-nchan, which tools/setup installs) as bench/fanout measures it: one
// process on one core, a channel kept in memory, server-sent events.
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startRival } from './lib.mjs';

const program = '/usr/sbin/nginx';
const module = '/usr/lib/nginx/modules/ngx_nchan_module.so';

export const hasNchan = () => existsSync(program) && existsSync(module);

/* nginx takes no port 0. */
function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

export async function startNchan(core) {
  const directory = mkdtempSync(join(tmpdir(), 'tickertape-nchan-'));
  const port = await freePort();
  const file = join(directory, 'nginx.conf');
  writeFileSync(file, `
load_module ${module};
daemon off;
master_process off;
pid ${directory}/pid;
error_log ${directory}/error.log warn;
worker_rlimit_nofile 20000;
events { worker_connections 19000; use epoll; multi_accept on; }
http {
  access_log off;
  client_body_temp_path ${directory}/body;
  proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/fastcgi;
  uwsgi_temp_path ${directory}/uwsgi;
  scgi_temp_path ${directory}/scgi;
  tcp_nodelay on;
  keepalive_requests 1000000;
  nchan_shared_memory_size 256M;
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location = /sse {
      nchan_subscriber eventsource;
      nchan_channel_id all;
      nchan_subscriber_first_message newest;
      nchan_subscriber_timeout 0;
    }
    location = /publish {
      nchan_publisher;
      nchan_channel_id all;
      nchan_message_buffer_length 100;
      nchan_message_timeout 60s;
    }
    location = / { return 204; }
  }
}
`);
  const server = await startRival(core, program, ['-e', join(directory, 'error.log'), '-c', file, '-p', directory], port);
  const { stop } = server;
  server.stop = async () => {
    await stop();
    rmSync(directory, { recursive: true, force: true });
  };
  return server;
}
