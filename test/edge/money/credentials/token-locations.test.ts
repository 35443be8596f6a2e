import { abortAllDurableObjects, runDurableObjectAlarm } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { decodeJwt } from 'jose';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { TokenLocation } from '#edge/auth/identity/token-location.ts';
import type { MintOptions } from '#edge/auth/mint.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { DAY_MS, HOUR_MS } from '#edge/kit/async/durations.ts';
import { encodeUtf8, sha256Hex } from '#edge/kit/http/bytes.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { Account } from '#edge/money/account/account.ts';
import type { OwnedTokenRow, TokenRow } from '#edge/money/account/usage-answers.schema.ts';
import type { CredentialClaims } from '#edge/money/contracts/admission.ts';
import type { TestApp } from '#test/support/app.ts';
import { eventually } from '#test/support/eventually.ts';
import { bearerHeader, createToken } from '#test/support/tokens.ts';
import {
  createAddressHeader,
  createVisitorSettings,
  mockTurnstile,
  SHOP,
  SOLVED_CHALLENGE,
} from '#test/support/visitors.ts';
import { createWebhookWorks, getInbox } from '#test/support/webhooks.ts';
import { admitInside, NOON, settleInside, worstCaseWith } from '../account/admission-requests.ts';
import { runInAccount } from '../account/run-in-account.ts';
import { smallEdge } from '../account/small-edge.ts';
import { ASK } from '../account/small-request.ts';

const ADDRESS = '203.0.113.77';
const BERLIN = { country: 'DE', asn: 3320 };
const PARIS = { country: 'FR', asn: 3215 };

let clock = NOON;
let ids = 0;
beforeEach(() => {
  clock = NOON;
  vi.spyOn(Date, 'now').mockImplementation(() => clock);
});
afterEach(() => void vi.restoreAllMocks());

const stub = (account = 'alice') =>
  getAccountStub(env as unknown as Bindings, {}, account) as unknown as DurableObjectStub<Account>;
const inAccount = <T>(run: (account: Account, state: DurableObjectState) => T | Promise<T>) =>
  runInAccount(stub(), { now: () => clock, retentionDays: 30 }, run);

/** Sends a request as from a place. */
function send(app: TestApp, token: string, cf: object, { path = '/messages', agent = 'curl/8.5.0', origin = '' } = {}) {
  const headers = {
    ...bearerHeader(token),
    'user-agent': agent,
    'cf-connecting-ip': ADDRESS,
    ...(origin && { origin }),
  };
  const asked = path === '/messages' ? { method: 'POST', body: JSON.stringify(ASK) } : {};
  const sent = { ...asked, headers: { ...headers, 'content-type': 'application/json' }, cf };
  return app.fetch(path, sent as RequestInit);
}

async function find(app: TestApp, token: string): Promise<OwnedTokenRow> {
  const headers = bearerHeader(await createToken('desk', ['admin:read']));
  const response = await app.fetch(`/tokens/${decodeJwt(token).jti}`, { headers });
  expect(response.status).toBe(200);
  return (await response.json()) as OwnedTokenRow;
}

const listAlerts = async () =>
  (await getInbox('alert').listAlerts({ limit: 100 })).data.map(({ kind, node, subject, country }) => [
    kind,
    node.id,
    subject,
    country,
  ]);

/** The claims of a token that is used from a place, as the account gets them. */
const createUse = (location: Partial<TokenLocation>, more: CredentialClaims = {}): CredentialClaims => ({
  jti: 'tok_1',
  exp: 4e9,
  location: { hour: Math.floor(clock / HOUR_MS), country: 'DE', asn: 3320, client: 'curl', ...location },
  ...more,
});

function askInside(account: Account, token: CredentialClaims): void {
  ids += 1;
  const requestId = `req_${String(ids).padStart(12, '0')}`;
  admitInside(account, {
    requestId,
    route: 'messages',
    model: 'claude-opus-5-5',
    maximumCost: worstCaseWith(),
    defaults: {},
    token,
  });
  settleInside(account, { requestId, status: 'complete', cost: 500, tokens: { input: 40, output: 46 } });
}

const listTokens = (): Promise<TokenRow[]> => inAccount((account) => account.listTokens({ limit: 100 }).data);
const findLocations = () => inAccount((account) => account.findToken('tok_1')?.locations ?? []);

describe('GET /tokens/:jti', () => {
  test('lists by hour from which country, network and kind of client the token was used', async () => {
    const app = smallEdge();
    const token = await createToken('alice', ['messages']);
    for (const cf of [BERLIN, BERLIN, PARIS]) expect((await send(app, token, cf)).status).toBe(200);
    clock += HOUR_MS;
    await send(app, token, BERLIN, { agent: 'claude-cli/2.1.197 (external, cli)' });
    // A request without an admission.
    await send(app, token, {}, { path: '/conversations', agent: 'Mozilla/5.0' });
    await app.waitUntilSettled();
    const [noon, one] = [NOON, NOON + HOUR_MS].map((at) => new Date(at).toISOString());
    expect((await find(app, token)).locations).toEqual([
      { hour: one, country: null, asn: null, client: 'browser' },
      { hour: one, ...BERLIN, client: 'claude-code' },
      { hour: noon, ...BERLIN, client: 'curl' },
      { hour: noon, ...PARIS, client: 'curl' },
    ]);
  });

  test('has no locations for visitors, session tokens and restricted tokens, nor if TOKEN_LOCATIONS is false', async () => {
    mockTurnstile(() => SOLVED_CHALLENGE);
    const app = smallEdge(createVisitorSettings());
    const session = { end: Math.floor(NOON / 1_000) + 9_000, seconds: 600 };
    const off = smallEdge({ TOKEN_LOCATIONS: 'false' });
    const cases: [TestApp, Partial<MintOptions>][] = [
      [app, { session, expiresIn: 600 }],
      [app, { only: { classifiers: ['tickets'] } }],
      [off, {}],
    ];
    for (const [edge, more] of cases) {
      const token = await createToken('alice', ['messages', 'classify'], more);
      await (await send(edge, token, BERLIN)).text();
      await (await send(edge, token, BERLIN, { path: '/models' })).text();
      await edge.waitUntilSettled();
      expect((await find(edge, token)).locations, JSON.stringify(more)).toEqual([]);
    }
    const entered = await app.post('/tokens/visitor', { turnstile: 'solved' }, createAddressHeader());
    const { token, account } = (await entered.json()) as { token: string; account: string };
    expect((await send(app, token, BERLIN, { origin: SHOP })).status).not.toBe(401);
    await app.waitUntilSettled();
    const rows = await runInAccount(stub(account), { now: () => clock, retentionDays: 30 }, (_, state) =>
      dumpTables(state),
    );
    expect(rows).not.toContain('DE 3320');
  });
});

/** @returns all rows of an object, as text */
function dumpTables({ storage }: DurableObjectState): string {
  const tables = storage.sql.exec<{ name: string }>("select name from sqlite_master where type = 'table'").toArray();
  const readable = tables.filter(({ name }) => !name.startsWith('_cf_'));
  return JSON.stringify(readable.map(({ name }) => [name, storage.sql.exec(`select * from "${name}"`).toArray()]));
}

describe('the stored locations', () => {
  test('contain no address, no hash of one, and no user agent', async () => {
    const app = smallEdge();
    const token = await createToken('alice', ['messages', 'admin']);
    await send(app, token, BERLIN, { agent: 'curl/8.5.0 (secret-host)' });
    await send(app, token, BERLIN, { path: '/overview', agent: 'curl/8.5.0 (secret-host)' });
    await app.waitUntilSettled();
    const rows = await inAccount((_, state) => dumpTables(state));
    expect(rows).toContain('DE 3320 curl');
    const hash = await sha256Hex(encodeUtf8(ADDRESS));
    for (const private_ of [ADDRESS, hash.slice(0, 16), 'secret-host', '8.5.0']) expect(rows).not.toContain(private_);
  });

  test('cause no additional row writes per request, however many hours and countries there are', async () => {
    const rows = await inAccount((account, state) => {
      askInside(account, createUse({}));
      let written = 0;
      const { exec } = state.storage.sql;
      state.storage.sql.exec = ((...of: Parameters<SqlStorage['exec']>) => {
        const cursor = exec.apply(state.storage.sql, of);
        written += cursor.rowsWritten;
        return cursor;
      }) as SqlStorage['exec'];
      for (let hour = 0; hour < 10; hour += 1) {
        clock += HOUR_MS;
        for (const country of ['DE', 'FR', 'FI', 'GB', 'US']) askInside(account, createUse({ country }));
      }
      Object.assign(state.storage.sql, { exec });
      return written;
    });
    expect(rows).toBe(100);
    expect(await findLocations()).toHaveLength(51);
  });

  test('are at most eight per hour and token, and at most the last five hundred of a token', async () => {
    const countries = Array.from({ length: 26 }, (_, at) => `A${String.fromCharCode(65 + at)}`);
    await inAccount((account) => {
      for (const country of countries) askInside(account, createUse({ country }));
    });
    expect(await findLocations()).toHaveLength(8);
    // An object that wakes knows nothing of them before it has folded its rows.
    await abortAllDurableObjects();
    await inAccount((account) => {
      for (const country of countries.toReversed()) askInside(account, createUse({ country }));
      for (let hour = 0; hour < 600; hour += 1) {
        clock += HOUR_MS;
        for (let asn = 1; asn < 3; asn += 1) askInside(account, createUse({ asn }));
      }
    });
    const counts = await inAccount((_, state) =>
      state.storage.sql
        .exec<{ n: number }>('select max(n) as n from (select count(*) as n from token_locations group by jti, hour)')
        .one(),
    );
    expect(counts.n).toBeLessThanOrEqual(8);
    const total = await inAccount((_, state) =>
      state.storage.sql.exec<{ n: number }>('select count(*) as n from token_locations').one(),
    );
    expect(total.n).toBeLessThanOrEqual(500);
    expect((await findLocations())[0]?.hour).toBe(new Date(Math.floor(clock / HOUR_MS) * HOUR_MS).toISOString());
    expect((await listTokens())[0]?.locations).toHaveLength(5);
  });

  test('survive a fold and a crash, and are deleted after the retention period and with the account', async () => {
    const settle = (times: number) =>
      inAccount((account) => {
        for (let at = 0; at < times; at += 1) askInside(account, createUse({}));
      });
    await settle(1_100);
    await abortAllDurableObjects();
    expect(await findLocations()).toHaveLength(1);
    clock += DAY_MS;
    // Only reads: no row of the ledger says when the alarm must ring.
    await inAccount((account) => account.isTokenRevoked(createUse(PARIS)));
    expect(await findLocations()).toHaveLength(2);
    clock += 29.5 * DAY_MS;
    await inAccount((account) => account.alarm());
    expect((await findLocations()).map(({ country }) => country)).toEqual(['FR']);
    clock += DAY_MS;
    const alarmAt = await inAccount((_, state) => state.storage.getAlarm());
    expect(alarmAt).not.toBeNull();
    await inAccount((account) => account.alarm());
    expect(await findLocations()).toEqual([]);
    await settle(1);
    await inAccount((account) => account.isTokenRevoked(createUse(PARIS, { exp: undefined })));
    expect(await findLocations()).toHaveLength(2);
    expect(await inAccount((_, state) => dumpTables(state))).toContain('"countries":"FR"');
    await inAccount((account) => account.erase());
    const rows = await inAccount((_, state) => dumpTables(state));
    for (const place of ['DE 3320', 'FR 3215', '"countries":"']) expect(rows).not.toContain(place);
  });

  test('are deleted with an expired token', async () => {
    await inAccount((account) => account.isTokenRevoked(createUse({}, { exp: Math.floor(clock / 1_000) + 60 })));
    expect(await findLocations()).toHaveLength(1);
    clock += 2 * DAY_MS;
    await inAccount((account) => account.alarm());
    expect(await inAccount((_, state) => dumpTables(state))).not.toContain('DE 3320');
  });
});

describe('the alert token_new_country', () => {
  test('is sent once for each new country of tokens for operators and of tokens that do not expire', async () => {
    createWebhookWorks();
    const app = smallEdge();
    const [admin, endless] = [await createToken('alice', ['admin:read']), await createToken('alice', ['messages'])];
    const expiring = await createToken('alice', ['messages'], { expiresIn: 600 });
    for (const token of [admin, endless, expiring])
      for (const cf of [BERLIN, PARIS, BERLIN, PARIS, {}])
        await (await send(app, token, cf, token === admin ? { path: '/overview' } : {})).text();
    await app.waitUntilSettled();
    const [ofAdmin, ofEndless] = [admin, endless].map((token) => decodeJwt(token).jti);
    await eventually(async () => {
      expect((await listAlerts()).sort()).toEqual(
        [ofAdmin, ofEndless].sort().map((jti) => ['token_new_country', 'alice', jti, 'FR']),
      );
    });
    clock += HOUR_MS;
    await (await send(app, endless, { country: 'T1', asn: 1 })).text();
    await app.waitUntilSettled();
    await eventually(async () => {
      expect((await listAlerts()).map(([, , jti, country]) => `${jti} ${country}`)).toContain(`${ofEndless} T1`);
      expect(await listAlerts()).toHaveLength(3);
    });
  });

  test('is neither lost nor doubled if the object dies before or after the inbox has it', async () => {
    createWebhookWorks();
    const token = (country: string) => createUse({ country }, { exp: undefined });
    const inbox = (env as unknown as Bindings).INBOX;
    const unreachable = vi.spyOn(inbox, 'get').mockImplementation(() => {
      throw new Error('The inbox cannot be reached.');
    });
    await inAccount((account) => {
      askInside(account, token('DE'));
      askInside(account, token('FR'));
    });
    await abortAllDurableObjects();
    unreachable.mockRestore();
    await runDurableObjectAlarm(stub());
    await inAccount((account) => askInside(account, token('FR')));
    await abortAllDurableObjects();
    await inAccount((account) => askInside(account, token('FR')));
    await eventually(async () => expect(await listAlerts()).toEqual([['token_new_country', 'alice', 'tok_1', 'FR']]));
  });
});
