import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { readGuide, sectionOf } from '#test/support/guides.ts';
import { openSharedEdge } from '#test/support/shared-start.ts';

/** What the guide calls each recorded request. */
const RECORDINGS: Readonly<Record<string, string>> = {
  'the first prompt': 'first-prompt',
  'a title, requested at the same time': 'title',
  'a search with WebSearch': 'web-search',
};
const JSON_TYPE = { 'content-type': 'application/json' };

interface Recorded {
  path: string;
  headers: Record<string, string>;
  body: object;
}

const rows = [
  ...sectionOf(await readGuide('clients'), 'Claude Code').matchAll(
    /^\| (.+?) +\| (claude-\S+) +\| `(\w+)` +\| \$([\d.]+) +\| \$([\d.]+) +\|$/gm,
  ),
].map(([, what = '', model = '', served = '', least = '', whole = '']) => ({
  what,
  model,
  served,
  least: Number(least),
  whole: Number(whole),
}));

let url: string;
let accounts = 0;

const edge = openSharedEdge();
beforeAll(async () => {
  url = await edge();
});

/** Sends a recorded request as a new account. @returns its status, and the `max_tokens` that it was lowered to */
async function ask(what: string, model: string, limits: object): Promise<{ status: number; lowered: string | null }> {
  accounts += 1;
  const account = `claude-code-${accounts}`;
  const put = { method: 'PUT', headers: JSON_TYPE, body: JSON.stringify(limits) };
  expect((await fetch(`${url}/accounts/${account}/limits`, put)).status).toBe(200);
  const mint = { method: 'POST', headers: JSON_TYPE, body: JSON.stringify({ account, scopes: ['messages'] }) };
  const { token } = (await (await fetch(`${url}/tokens`, mint)).json()) as { token: string };
  const file = new URL(`../fixtures/claude-code/${RECORDINGS[what]}.json`, import.meta.url);
  const recorded = JSON.parse(await readFile(file, 'utf8')) as Recorded;
  const answer = await fetch(url + recorded.path, {
    method: 'POST',
    headers: { ...recorded.headers, 'x-api-key': token },
    body: JSON.stringify({ ...recorded.body, model }),
  });
  await answer.text();
  return { status: answer.status, lowered: answer.headers.get('sluice-max-tokens') };
}

describe("the guide's table of daily budgets for Claude Code", () => {
  test('has a row for each recorded prompt, and rows for estimated server tools', () => {
    expect(new Set(rows.map(({ what }) => what))).toEqual(new Set(Object.keys(RECORDINGS)));
    expect(rows.filter(({ served }) => served === 'estimate').length).toBeGreaterThan(0);
  });

  test.each(rows)(
    '$what to $model, served tools by $served: states the least budget and the budget without a lowered max_tokens',
    async ({ what, model, served, least, whole }) => {
      const at = (usd: number) => ask(what, model, { usd_per_day: Number(usd.toFixed(4)), served_tools: served });
      expect((await at(least)).status).toBe(200);
      // Less than a cent more or less is no matter.
      expect((await at(least * 0.9 - 0.01)).status).toBe(429);
      expect(await at(whole)).toEqual({ status: 200, lowered: null });
      expect((await at(whole * 0.95)).lowered).not.toBeNull();
    },
  );

  test('is followed by text with the lowered max_tokens for budgets of one and two dollars', async () => {
    const guide = sectionOf(await readGuide('clients'), 'Claude Code').replace(/\s+/g, ' ');
    for (const usd of [1, 2]) {
      const { lowered } = await ask('the first prompt', 'claude-opus-5-5', { usd_per_day: usd });
      expect(guide).toContain(Number(lowered).toLocaleString('en-US'));
    }
  });
});
