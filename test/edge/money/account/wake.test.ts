import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Account } from '#edge/money/account/account.ts';
import type { ConversationReport, Settlement } from '#edge/money/contracts/settlement.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { resetAll } from '#test/support/reset.ts';
import { admitAt, admitInside, settleInside, worstCaseWith } from './admission-requests.ts';
import { runInAccount } from './run-in-account.ts';

const bindings = env as unknown as { ACCOUNT: DurableObjectNamespace<Account> };
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const stub = () => getAccountStub(bindings, {}, 'alice');
const usd = (nanodollars: number) => nanodollars / 1e9;
const LIMITS = {
  requests_per_minute: 1_000,
  input_tokens_per_minute: 1_000_000,
  output_tokens_per_minute: 1_000_000,
  usd_per_day: 1,
  usd_total: 10,
};
const TOKENS = ['limited', 'minted', 'seen'];

let clock = 0;
let ids = 0;

beforeEach(() => {
  // The alarm's time is real: a clock that is ahead keeps it from coming by itself.
  clock = Date.now() + 100 * DAY;
  clock -= clock % DAY;
});
async function inAccount<T>(run: (account: Account, state: DurableObjectState) => T | Promise<T>): Promise<T> {
  return await runInAccount(stub(), { now: () => clock, retentionDays: 3 }, run);
}

const nextId = () => `req_${String(++ids).padStart(12, '0')}`;

function askOf(requestId: string, token?: string, conversation?: string) {
  const more = { token: token === undefined ? undefined : { jti: token, iat: clock / 1_000 }, conversation };
  return {
    requestId,
    route: 'messages',
    model: 'claude-opus-5-5',
    maximumCost: worstCaseWith(),
    defaults: LIMITS,
    ...more,
  };
}

function endOf(requestId: string, cost: number, conversation?: string) {
  const tokens = { input: 40, output: 46 };
  const told = conversation === undefined ? {} : { conversation: reportOf(conversation) };
  return { requestId, status: 'complete', cost, tokens, ...told };
}

function reportOf(id: string): ConversationReport {
  const told = { title: null, turns: 1, messages: 2, bytes: 100 + (ids % 7), cost: 0, paused: null, gone: false };
  return { id, version: ids, createdAt: clock, updatedAt: clock, ...told };
}

async function live(requests: number, token = 'seen'): Promise<void> {
  await inAccount((account) => {
    for (let n = 0; n < requests; n += 1) {
      const id = nextId();
      admitInside(account, askOf(id, token, 'c1'));
      settleInside(account, endOf(id, 500, 'c1'));
    }
  });
}

/** What an account tells of itself, and of each token. */
async function told(): Promise<unknown> {
  return await inAccount((account) => ({
    standing: TOKENS.map((token) => account.getQuotaReport(LIMITS, token)),
    revoked: TOKENS.map((jti) => account.isTokenRevoked({ jti, iat: clock / 1_000 + 1 })),
    tokens: account.listTokens(),
    credits: account.listCredits({}, LIMITS),
  }));
}

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('ask' as const),
      token: fc.option(fc.constantFrom(...TOKENS), { nil: undefined }),
      conversation: fc.option(fc.constantFrom('c1', 'c2'), { nil: undefined }),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('settle' as const),
      which: fc.nat(20),
      cost: fc.integer({ min: 0, max: 13_000 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 9 * HOUR }) }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: 'alarm' as const }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('credit' as const),
      hours: fc.option(fc.integer({ min: 1, max: 40 }), { nil: undefined }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('revoke' as const), token: fc.constantFrom(...TOKENS) }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'fold' as const }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('delete' as const), conversation: fc.constantFrom('c1', 'c2') }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('upload' as const),
      file: fc.constantFrom('file_1', 'file_2'),
      bytes: fc.integer({ min: 1, max: 5_000 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('remove' as const), file: fc.constantFrom('file_1', 'file_2') }),
  },
);

/** Uploads a file: its bytes count from the beginning of the upload on. */
function upload(account: Account, file: string, bytes: number): void {
  const begun = { id: nextId(), upstream: '', bytes, most: 1e6 };
  const decided = account.beginUpload(begun);
  if (decided.outcome !== 'admitted') throw new Error('There is no room for a file.');
  const end = { outcome: 'made' as const, file: { id: file, bytes, expiresAt: null, text: '{}' } };
  account.endUpload({ id: begun.id, upstream: '', at: decided.at, end });
}

test('restores the state of an account after a restart', async () => {
  await tryAsyncCases(
    caseCount(100),
    fc.array(fc.array(step, { maxLength: 12 }), { minLength: 1, maxLength: 4 }),
    async (lives) => {
      await resetAll();
      await inAccount((account) => {
        account.recordMintedToken({ jti: 'limited', scopes: ['messages'], limits: { usd_total: usd(1_000_000) } });
        account.recordMintedToken({ jti: 'minted', scopes: ['messages'] });
      });
      const asked: { id: string; conversation: string | undefined }[] = [];
      for (const life of lives) {
        for (const next of life) {
          if (next.kind === 'pass') clock += next.ms;
          else if (next.kind === 'alarm') await runDurableObjectAlarm(stub());
          else if (next.kind === 'ask') {
            const { token, conversation } = next;
            const id = nextId();
            const { outcome } = await inAccount((account) => admitInside(account, askOf(id, token, conversation)));
            if (outcome === 'admitted') asked.push({ id, conversation });
          } else if (next.kind === 'settle') {
            const one = asked[next.which % Math.max(1, asked.length)];
            if (one) await inAccount((account) => settleInside(account, endOf(one.id, next.cost, one.conversation)));
          } else if (next.kind === 'credit') {
            const id = nextId();
            const expiresAt = next.hours === undefined ? null : clock + next.hours * HOUR;
            await inAccount((account) => account.giveCredit({ id, key: id, usd: usd(5_000), expiresAt }));
          } else if (next.kind === 'fold') await inAccount((account) => account.backupJson('alice'));
          else if (next.kind === 'delete') {
            const gone = { ...reportOf(next.conversation), version: clock, gone: true };
            await inAccount((account) => account.noteConversation(gone));
          } else if (next.kind === 'upload') await inAccount((account) => upload(account, next.file, next.bytes));
          else if (next.kind === 'remove') await inAccount((account) => account.recordFileDeletion(next.file));
          else await inAccount((account) => account.revokeToken(next.token));
          // Figures that nobody has asked for are not kept, and cannot be wrong.
          await told();
        }
        // What is expected of conversations that have not reported themselves is known to nobody else, for half a minute.
        clock += 60_000;
        const awake = await told();
        await abortAllDurableObjects();
        expect(await told()).toEqual(awake);
      }
    },
  );
});

test('restores the lengths of a model’s last 64 responses from the rows after a restart', async () => {
  const defaults = { usd_per_day: usd(12_000) };
  const asking = { defaults, waitMs: 1_000 };
  const answer = (output: number, more: Partial<Settlement> = {}, model = 'claude-opus-5-5') =>
    inAccount((account) => {
      const id = nextId();
      admitInside(account, { ...askOf(id), ...asking, model });
      settleInside(account, { ...endOf(id, 0), tokens: { input: 40, output }, ...more });
    });
  const held = () =>
    inAccount((account) => {
      const id = nextId();
      const maximumCost = worstCaseWith({ outputTokens: 10_000 });
      const decision = admitInside(account, { ...askOf(id), ...asking, maximumCost });
      settleInside(account, { ...endOf(id, 0), status: 'void', errorType: 'client_gone' });
      return decision.outcome === 'admitted' ? decision.maxTokens : undefined;
    });
  for (let old = 0; old < 3; old += 1) await answer(700);
  for (let nth = 0; nth < 64; nth += 1) await answer(600);
  for (let other = 0; other < 3; other += 1) {
    await answer(700, {}, 'claude-haiku-5-5');
    await answer(700, { status: 'failed', errorType: 'api_error' });
  }
  await abortAllDurableObjects();
  // One and a half times the third longest.
  expect(await held()).toBe(900);
  for (let more = 0; more < 3; more += 1) await answer(640);
  expect(await held()).toBe(960);
  await abortAllDurableObjects();
  expect(await held()).toBe(960);
});

test('continues in the windows of the latest request if the clock is seconds earlier after a restart', async () => {
  await live(1);
  clock += DAY;
  await live(1);
  const awake = await told();
  // A day has just begun.
  clock -= 10_000;
  await abortAllDurableObjects();
  expect(await told()).toEqual(awake);
});

describe('the rows that an account reads when it wakes', () => {
  // The object is made by the machine's clock.
  beforeEach(() => {
    clock = Date.now();
  });

  /** Counts the statements that all objects run from now on, and the rows that these read. */
  async function countStatements() {
    const counted = { statements: [] as string[], rowsRead: 0 };
    const { prototype, exec: real } = await runInDurableObject(stub(), (_, { storage }) => {
      const prototype = Object.getPrototypeOf(storage.sql) as SqlStorage;
      return { prototype, exec: prototype.exec };
    });
    prototype.exec = function exec(this: SqlStorage, ...of: Parameters<SqlStorage['exec']>) {
      const cursor = real.apply(this, of);
      counted.statements.push(of[0]);
      const rowsOf = cursor.toArray.bind(cursor);
      const rawRowsOf = cursor.raw.bind(cursor);
      const counting = <T>(rows: T): T => {
        counted.rowsRead += cursor.rowsRead;
        return rows;
      };
      Object.assign(cursor, {
        toArray: () => counting(rowsOf()),
        raw: () => counting([...rawRowsOf()]).values(),
      });
      return cursor;
    } as SqlStorage['exec'];
    return {
      counted,
      stop: () => {
        prototype.exec = real;
      },
    };
  }

  /** @returns what the account reads when it wakes for that */
  async function readBy(work: () => Promise<unknown>): Promise<{ reads: number; rowsRead: number }> {
    await inAccount(() => undefined);
    await abortAllDurableObjects();
    const { counted, stop } = await countStatements();
    // To look for the statements, it was woken.
    await abortAllDurableObjects();
    counted.statements.length = 0;
    counted.rowsRead = 0;
    await work().finally(stop);
    return {
      reads: counted.statements.filter((sql) => /^\s*select/.test(sql)).length,
      rowsRead: counted.rowsRead,
    };
  }

  test('are read by at most six statements before a turn is admitted, each ledger row once', async () => {
    await live(300);
    const { reads, rowsRead } = await readBy(async () => await admitAt(stub(), askOf(nextId(), 'seen', 'c1')));
    expect(reads).toBeLessThanOrEqual(6);
    expect(rowsRead).toBeGreaterThan(300);
    expect(rowsRead).toBeLessThan(330);
  });

  test('do not include the account’s other tokens', async () => {
    await inAccount((account) => {
      for (let n = 0; n < 200; n += 1) account.recordMintedToken({ jti: `minted-${n}`, scopes: ['messages'] });
    });
    await live(1, 'minted-7');
    const { rowsRead } = await readBy(async () => await admitAt(stub(), askOf(nextId(), 'minted-7', 'c1')));
    expect(rowsRead).toBeLessThan(30);
  });

  test('need at most nine statements in an alarm that finds nothing to do', async () => {
    await live(3);
    // The first one reports what was spent.
    await runDurableObjectAlarm(stub());
    await runInDurableObject(stub(), async (_, { storage }) => await storage.setAlarm(Date.now() + DAY));
    const { counted, stop } = await countStatements();
    await runDurableObjectAlarm(stub()).finally(stop);
    expect(counted.statements.filter((sql) => /^\s*select/.test(sql)).length).toBeLessThanOrEqual(9);
  });
});

test('deletes expired rows in each day’s alarm, and folds once for the rows of several days', async () => {
  const folds = new Set<unknown>();
  const days = 12;
  for (let day = 0; day < days; day += 1) {
    await live(1);
    clock += DAY;
    await inAccount(() => undefined);
    await runDurableObjectAlarm(stub());
    expect((await stub().listRequests({ limit: 100 })).data.length).toBeLessThanOrEqual(3);
    const meta = await runInDurableObject(stub(), (_, { storage }) =>
      storage.sql.exec("select json_extract(value, '$.marker') as marker from meta where key = 'fold'").toArray(),
    );
    folds.add(meta[0]?.marker);
  }
  folds.delete(undefined);
  expect(folds.size).toBeLessThanOrEqual(days / 3);
  await abortAllDurableObjects();
  expect((await stub().getQuotaReport()).total.settled_usd).toBe(usd(days * 500));
});
