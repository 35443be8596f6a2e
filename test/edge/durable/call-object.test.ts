import { expect, test } from 'vitest';
import { callObjectWithRetry, type DurableObjectName, ObjectUnreachableError } from '#edge/durable/call-object.ts';

const LOST = { retryable: true };
const OVERLOADED = { retryable: true, overloaded: true };

test.each([
  ['was refused by an overloaded object alone has not run', [OVERLOADED], false],
  [
    'was lost, and then refused by an overloaded object, may have run: what it has set aside must be settled',
    [LOST, OVERLOADED],
    true,
  ],
  ['was lost twice may have run', [LOST, LOST], true],
  ['broke for good may have run', [{}], true],
])('a call that %s', async (_, failures, mayHaveRun) => {
  const left = [...failures];
  const called = callObjectWithRetry('account', () => Promise.reject(Object.assign(new Error('no'), left.shift())));
  await expect(called).rejects.toMatchObject({ status: 503, mayHaveRun });
  expect(left).toEqual([]);
});

const TITLES: Record<DurableObjectName, RegExp> = {
  account: /^The account /,
  batch: /^The batch /,
  conversation: /^The conversation /,
  inbox: /^The inbox of this source /,
  pool: /^A budget /,
};
/** What workerd says of a file that it cannot open, and SQLite of one that it cannot read. */
const OF_A_FILE = [
  'internal error; reference = t2f2j62m6oibdpkruhtsutes',
  'database disk image is malformed: SQLITE_CORRUPT',
  'file is not a database: SQLITE_NOTADB',
];

test.each(Object.entries(TITLES) as [DurableObjectName, RegExp][])(
  'the error for a damaged file names the object and the remedy, and other errors suggest a retry: %s',
  (object, title) => {
    for (const said of OF_A_FILE) {
      const { status, message, headers, logged } = new ObjectUnreachableError(object, new Error(said));
      expect([status, logged]).toEqual([500, `${object}_damaged: ${said}`]);
      expect(headers).toEqual({});
      expect(message).toMatch(title);
      expect(message).toMatch(/If this persists.*is damaged.*backup/);
      expect(message).not.toMatch(/again/);
    }
    // What passes by itself is tried again.
    const passing = Object.assign(new Error(OF_A_FILE[0]), LOST);
    for (const cause of [passing, new Error('Network connection lost.'), undefined]) {
      const { status, message, headers, logged } = new ObjectUnreachableError(object, cause);
      expect([status, logged]).toEqual([503, `${object}_unreachable: ${cause?.message ?? 'unknown'}`]);
      expect(headers).toEqual({ 'retry-after': '1' });
      expect(message).toMatch(title);
      expect(message).toMatch(/again/);
    }
  },
);
