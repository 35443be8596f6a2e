const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
const TIME_CHARACTERS = 10;
const RANDOM_CHARACTERS = 16;

/** Random bytes for many ids: one call of the runtime for each id would cost more. */
const pool = new Uint8Array(RANDOM_CHARACTERS * 64);
let usedBytes = pool.length;

/**
 * Makes an id that sorts by time: the ledger finds and pages requests by it without an index.
 *
 * @returns `req_`, 50 bits of milliseconds and 80 random bits, in Crockford's base 32
 */
export function createRequestId(now = Date.now()): string {
  if (usedBytes === pool.length) {
    crypto.getRandomValues(pool);
    usedBytes = 0;
  }
  let time = '';
  for (let rest = now, i = 0; i < TIME_CHARACTERS; i += 1, rest = Math.floor(rest / 32)) {
    time = ALPHABET.charAt(rest % 32) + time;
  }
  let random = '';
  for (const end = usedBytes + RANDOM_CHARACTERS; usedBytes < end; usedBytes += 1)
    random += ALPHABET.charAt((pool[usedBytes] ?? 0) % 32);
  return `req_${time}${random}`;
}
