// Waiting with an end: nothing in these tests sleeps, everything waits for a condition and says what
// it was waiting for when the condition does not come.

import fs from 'node:fs';

const slow = /\/(asan|tsan)\//.test(process.env.TT_BINARY ?? '') ? 4 : 1;

/** How long a test waits for something that should come soon. Generous: reaching it is a failure. */
export const patience_ms = 30_000 * slow;

/** Settles as `promise` does, or rejects after `limit_ms` with what `what` says (text or function). */
export function within(promise, what, limit_ms = patience_ms) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => {
      const text = typeof what === 'function' ? what() : what;
      reject(new Error(`waited ${limit_ms} ms for ${text}`));
    }, limit_ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Lets time pass. Only for things that time itself brings about; never to wait for an effect. */
export function pass_ms(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Asks again and again until `probe` answers something that is not false, null or undefined. */
export async function eventually(probe, what, limit_ms = patience_ms) {
  const end = Date.now() + limit_ms;
  for (;;) {
    const answer = await probe();
    if (answer) return answer;
    if (Date.now() > end) {
      throw new Error(`waited ${limit_ms} ms for ${typeof what === 'function' ? what() : what}`);
    }
    await pass_ms(20);
  }
}

/** The broker's log gets a line like this: it is another pipe than the one that says "ready". */
export const logged = (broker, pattern) => eventually(async () => pattern.test(broker.stderr), `a log line like ${pattern}`);

/**
 * Stops a process (SIGSTOP) and waits until each of its threads stands: each must get a CPU before it does, and until
 * then the others go on. The kernel's own threads for io_uring's work are left out: they stop when they have none.
 */
export async function stand_still(pid) {
  process.kill(pid, 'SIGSTOP');
  const stands = (thread) => {
    const [, name, state] = /\((.*)\) (\S)/s.exec(fs.readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8'));
    return /^[TtZX]$/.test(state) || name.startsWith('iou-');
  };
  await eventually(() => {
    try {
      return fs.readdirSync(`/proc/${pid}/task`).every(stands);
    } catch (error) {
      if (error.code === 'ENOENT' || error.code === 'ESRCH') return false; /* a thread has just ended */
      throw error;
    }
  }, `process ${pid} to stand still`);
}
