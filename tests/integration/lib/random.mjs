// Random numbers from a seed that is printed, so that a failed run can be repeated:
// TT_SEED=<seed> node --test ...

/** A generator (mulberry32). The seed comes from TT_SEED or the clock; `t.diagnostic` prints it. */
export function seeded(t) {
  const seed = Number(process.env.TT_SEED ?? Date.now() % 2 ** 32) >>> 0;
  t?.diagnostic?.(`TT_SEED=${seed}`);
  console.error(`# TT_SEED=${seed} (${t?.name ?? 'no test'})`);
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 15), z | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    seed,
    /** 0 <= x < 1 */
    next,
    /** low <= x <= high, whole */
    between: (low, high) => low + Math.floor(next() * (high - low + 1)),
    pick: (list) => list[Math.floor(next() * list.length)],
  };
}
