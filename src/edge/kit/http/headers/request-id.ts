const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
const PREFIX = 'req_';
const TIME_CHARACTERS = 10;
const RANDOM_CHARACTERS = 16;
/** How many of the random characters the mark of an account may replace. */
const MARK_CHARACTERS = 8;

/** Random bytes for many ids. One call of the runtime for each id would cost more. */
const randomPool = new Uint8Array(RANDOM_CHARACTERS * 64);
let usedPoolBytes = randomPool.length;
/** The time of the last id, in milliseconds since 1970, and the beginning of ids of that time. */
let latest = { time: Number.NaN, start: '' };

/**
 * Makes an id that sorts by time: the ledger finds and pages requests by it without an index.
 *
 * @returns `req_`, 50 bits of milliseconds and 80 random bits, in Crockford's base 32
 */
export function createRequestId(): string {
  const now = Date.now();
  if (usedPoolBytes === randomPool.length) {
    crypto.getRandomValues(randomPool);
    usedPoolBytes = 0;
  }
  if (now !== latest.time) latest = { time: now, start: encodeTimePrefix(now) };
  let random = '';
  for (const end = usedPoolBytes + RANDOM_CHARACTERS; usedPoolBytes < end; usedPoolBytes += 1)
    random += ALPHABET.charAt((randomPool[usedPoolBytes] ?? 0) % 32);
  return latest.start + random;
}

/** Makes an id for a change that an admin makes. It sorts by time like the id of a request. */
export function createChangeId(): string {
  return `chg_${createRequestId().slice(PREFIX.length)}`;
}

/** @returns an id that sorts before each id that is made at a time or later */
export function createLowestRequestId(time: number): string {
  return encodeTimePrefix(time);
}

function encodeTimePrefix(now: number): string {
  let time = '';
  for (let rest = now, i = 0; i < TIME_CHARACTERS; i += 1, rest = Math.floor(rest / 32)) {
    time = ALPHABET.charAt(rest % 32) + time;
  }
  return PREFIX + time;
}

/** The header with the edge's own id of the request. */
export const REQUEST_ID_HEADER = 'sluice-request-id';

/** @returns the headers that every answer of the edge has. */
export function createCommonHeaders(requestId: string): Record<string, string> {
  // `nosniff` prevents a browser from treating a response as an HTML page or script. Responses are private, so caches must not
  // store them. Streams set their own `cache-control`.
  return { [REQUEST_ID_HEADER]: requestId, 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' };
}

/**
 * Inserts the mark of an account into an id, after its time. The length does not change, and 40 of its bits stay random.
 *
 * @param mark eight characters; undefined leaves the id as it is
 */
export function insertAccountMark(id: string, mark: string | undefined): string {
  if (mark === undefined) return id;
  const at = PREFIX.length + TIME_CHARACTERS;
  return id.slice(0, at) + mark + id.slice(at + MARK_CHARACTERS);
}

/** Makes another id with the same account's mark as an id has. */
export function createRequestIdWithSameMark(requestId: string): string {
  return insertAccountMark(createRequestId(), extractAccountMark(requestId));
}

/** @returns the characters of an id that may be the mark of an account; undefined if it is not an id of this edge. */
export function extractAccountMark(id: string): string | undefined {
  const at = PREFIX.length + TIME_CHARACTERS;
  return isRequestId(id) ? id.slice(at, at + MARK_CHARACTERS) : undefined;
}

/** @returns when an id was made, in milliseconds since 1970; undefined if it is not an id of this edge. */
export function parseTimeOfRequestId(id: string): number | undefined {
  if (!isRequestId(id)) return undefined;
  let time = 0;
  for (const character of id.slice(PREFIX.length, PREFIX.length + TIME_CHARACTERS)) {
    time = time * 32 + ALPHABET.indexOf(character);
  }
  return time;
}

/** @returns bytes as characters of the same alphabet as ids, five bits of each byte. */
export function encodeAccountMark(bytes: Uint8Array): string {
  return [...bytes.subarray(0, MARK_CHARACTERS)].map((byte) => ALPHABET.charAt(byte % 32)).join('');
}

function isRequestId(id: string): boolean {
  return /^req_[0-9a-hjkmnp-tv-z]{26}(\.\d+)?$/.test(id);
}
