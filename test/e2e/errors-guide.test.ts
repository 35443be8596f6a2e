/** The guide for errors: its table has each that a page can meet, and its function says of real ones what the table says. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createClient, SluiceError } from '#client/index.ts';
import { STATUS_BY_TYPE } from '#edge/kit/http/errors.ts';
import { describeErrorForUser } from '#page/edge/error-messages.ts';
import { bundleForBrowser } from '#test/support/bundle.ts';
import { type Edge, startSimulatingEdge } from '#test/support/edge.ts';
import { codeBlocksOf, readGuide } from '#test/support/guides.ts';
import { root } from '#test/support/root.ts';
import { createToken, SECRET } from '#test/support/tokens.ts';
import tsconfig from '../../tsconfig.json' with { type: 'json' };

const guide = await readGuide('errors');
const [code = ''] = codeBlocksOf(guide, 'ts');
const script = await bundleForBrowser(code, 'ts');
const { sentence } = (await import(
  /* @vite-ignore */ `data:text/javascript;base64,${Buffer.from(script).toString('base64')}`
)) as { sentence: (error: SluiceError) => string };

const rows = [...guide.matchAll(/^\| `(\w+_\w+)` +\| ([^|]*?) *\| ([^|]*?) *\|/gm)].flatMap(
  ([, type = '', where = '', words = '']) => {
    const statuses: (number | undefined)[] = (where.match(/\d+/g) ?? []).map(Number);
    const owners: (string | undefined)[] = where.match(/[a-z]+/g) ?? [];
    if (statuses.length === 0) statuses.push(undefined);
    if (owners.length === 0) owners.push(undefined);
    return statuses.flatMap((status) => owners.map((by) => ({ type, status, by, words })));
  },
);

test('the table of the errors guide lists every error type with its status', () => {
  const known = Object.entries(STATUS_BY_TYPE).map(([type, status]) => `${type} ${status}`);
  const shown = rows.map(({ type, status }) => `${type} ${status}`);
  expect(known.filter((each) => !shown.includes(each))).toEqual([]);
  const unknown = rows.filter(({ type }) => !Object.hasOwn(STATUS_BY_TYPE, type)).map(({ type }) => type);
  expect(unknown).toEqual(['connection_error']);
});

test.each(rows)(
  "the function of the errors guide returns the table's text: $type $status $by",
  ({ type, status, by, words }) => {
    const headers = new Headers(by === undefined ? {} : { 'sluice-limited-by': by });
    expect(sentence(new SluiceError(type, 'For developers.', { status, headers }))).toBe(words);
  },
);

test.each(
  rows
    .filter(({ type }) => type === 'billing_error')
    .flatMap(({ by }) => [undefined, '0.26', '0.9999', '1'].map((used) => ({ by, used }))),
)(
  'the page and the function of the errors guide describe the remaining budget alike: $by, of which $used is used',
  ({ by = '', used }) => {
    const headers = new Headers({ 'sluice-limited-by': by, ...(used && { 'sluice-budget-used': used }) });
    const error = new SluiceError('billing_error', 'For developers.', { status: 429, headers });
    expect(sentence(error).startsWith(`${describeErrorForUser(error)} `)).toBe(true);
  },
);

test('the function of the errors guide type-checks', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'sluice-errors-'));
  try {
    const paths = { 'sluice/client': [join(root, 'src/client/index.ts')] };
    const types = [join(root, 'node_modules/@cloudflare/workers-types')];
    const compilerOptions = { ...tsconfig.compilerOptions, paths, types };
    await writeFile(join(folder, 'words.ts'), code);
    await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['words.ts'] }));
    const compiler = join(root, 'node_modules/typescript/bin/tsc');
    await promisify(execFile)(process.execPath, [compiler, '-p', folder, '--singleThreaded']).catch(
      ({ stdout }: { stdout: string }) => expect.unreachable(stdout),
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

describe('the function of the errors guide for a real error', () => {
  const asked = {
    model: 'claude-haiku-5-5',
    max_tokens: 2_048,
    messages: [{ role: 'user' as const, content: 'Hello' }],
  };
  let edge: Edge;
  beforeAll(async () => {
    edge = await startSimulatingEdge({
      SIGNING_SECRET: SECRET,
      SIMULATOR_TTFT_MS: '0',
      SIMULATOR_TOKENS_PER_SECOND: '0',
    });
  });
  afterAll(async () => await edge.stop());

  /** Asks as an account, and by the simulator's fault. @returns the error, as the client throws it */
  async function errorOf(account: string, fault = '', baseURL = edge.url): Promise<SluiceError> {
    const token = account === '' ? `${await createToken('somebody')}x` : await createToken(account);
    const send: typeof fetch = async (url, init) => {
      const headers = new Headers(init?.headers);
      if (fault !== '') headers.set('sluice-simulate', fault);
      return await fetch(url, { ...init, headers });
    };
    const sluice = createClient({ baseURL, token, fetch: send });
    const thrown: unknown = await sluice.messages
      .stream(asked)
      .text()
      .catch((error: unknown) => error);
    if (!(thrown instanceof SluiceError)) throw new TypeError(`No error of the client: ${String(thrown)}`);
    return thrown;
  }

  async function limit(account: string, limits: object): Promise<void> {
    const headers = {
      'content-type': 'application/json',
      authorization: `Bearer ${await createToken('operator', ['admin'])}`,
    };
    const path = `${edge.url}/accounts/${account}/limits`;
    const { status } = await fetch(path, { method: 'PUT', headers, body: JSON.stringify(limits) });
    expect(status).toBe(200);
  }

  test('asks to log in for an invalid token', async () => {
    expect(sentence(await errorOf(''))).toBe('Log in first.');
  });

  test('reports that Claude is busy for a 529', async () => {
    expect(sentence(await errorOf('busy', 'status=529'))).toBe('Claude is busy. Try again in a minute.');
  });

  test('reports a budget that is too low for the response', async () => {
    await limit('poor', { usd_per_day: 0.000_001 });
    expect(sentence(await errorOf('poor'))).toBe(
      'Your remaining budget is too low for this response (about 100 %). Ask us for more.',
    );
  });

  test('reports the remaining budget, and an exhausted budget only if nothing remains', async () => {
    await limit('spender', { usd_per_day: 0.0027 });
    const sluice = createClient({ baseURL: edge.url, token: await createToken('spender') });
    let refused: SluiceError | undefined;
    for (let times = 0; times < 99 && !refused; times += 1)
      await sluice.messages
        .stream(asked)
        .text()
        .catch((error: SluiceError) => (refused = error));
    const { day } = (await (await sluice.fetch('/accounts/spender')).json()) as { day: { settled_usd: number } };
    const left = Math.round((1 - day.settled_usd / 0.0027) * 100);
    expect(left).toBeGreaterThan(0);
    expect(sentence(refused as SluiceError).split('. ')).toEqual([
      `Your remaining budget is too low for this response (about ${left} %)`,
      expect.stringMatching(/^It is full again on /),
    ]);
    await limit('spender', { usd_per_day: day.settled_usd });
    expect(sentence(await errorOf('spender'))).toMatch(/^Your budget is used up\. /);
  });

  test('reports too many concurrent questions for a rate limit', async () => {
    await limit('hasty', { requests_per_minute: 1 });
    const sluice = createClient({ baseURL: edge.url, token: await createToken('hasty') });
    await sluice.messages.stream(asked).text();
    expect(sentence(await errorOf('hasty'))).toBe('Too many questions at once. Try again in a minute.');
  });

  test('reports an interrupted response as a failure', async () => {
    const cut = await errorOf('cut', 'cut-events=3');
    expect([cut.status, cut.type]).toEqual([undefined, 'api_error']);
    expect(sentence(cut)).toBe('Something went wrong. Try again in a minute.');
  });

  test('reports that the chat cannot be reached', async () => {
    expect(sentence(await errorOf('far', '', 'http://127.0.0.1:9'))).toBe(
      'The chat cannot be reached. Check your connection, then try again.',
    );
  });
});
