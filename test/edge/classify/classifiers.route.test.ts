import { expect, test } from 'vitest';
import type { EvaluationReport } from '#edge/plugins/evaluation/evaluation-answers.schema.ts';
import { readError } from '#test/support/app.ts';
import {
  type Caller,
  COST_NANODOLLARS,
  createClassifyCaller,
  HAIKU,
  inputTextOf,
  LABELS,
  labelMessage,
  textMessage,
} from '#test/support/classification.ts';
import { FIRST_SCHEMAS } from '#test/support/first-schemas.ts';
import { bearerHeader, createToken } from '#test/support/tokens.ts';

const usd = (nanodollars: number) => nanodollars / 1e9;

async function put({ request: ask }: Caller, name: string, body: object, headers: object = {}) {
  const response = await ask(body, { path: `/classifiers/${name}`, method: 'PUT', headers });
  const text = await response.text();
  expect(response.status, text).toBe(200);
  return JSON.parse(text) as { version: string; owner: string; labels: { name: string }[] };
}
const get = ({ request: ask }: Caller, path: string, headers: object = {}) =>
  ask(undefined, { path, method: 'GET', headers });

test('classifiers are stored by name and version, rolled back, listed, deleted, and hidden from other accounts', async () => {
  const one = await createClassifyCaller(() => labelMessage('bug'));
  const first = await put(one, 'tickets', { labels: LABELS, description: 'The first' });
  expect(first).toMatchObject({
    type: 'classifier',
    owner: 'account',
    multi: false,
    labels: LABELS,
  });
  const second = await put(one, 'tickets', { labels: [...LABELS, 'more'] });
  expect(second.version).not.toBe(first.version);
  expect(await (await get(one, '/classifiers/tickets')).json()).toMatchObject({ version: second.version });
  expect(await (await get(one, `/classifiers/${first.version}`)).json()).toMatchObject({
    version: first.version,
    description: 'The first',
  });
  expect(await (await get(one, '/classifiers')).json()).toMatchObject({
    data: [{ type: 'classifier', name: 'tickets', version: second.version, owner: 'account' }],
  });
  const history = (await (await get(one, '/classifiers/tickets/versions')).json()) as {
    data: { version: string; current: boolean }[];
  };
  expect(history.data.map(({ version, current }) => [version, current])).toEqual(
    expect.arrayContaining([
      [second.version, true],
      [first.version, false],
    ]),
  );
  expect(await put(one, 'tickets', { version: first.version })).toMatchObject({ version: first.version });
  const other = await createClassifyCaller(() => labelMessage('bug'));
  for (const path of ['/classifiers/tickets', `/classifiers/${first.version}`, '/classifiers/tickets/versions']) {
    expect((await get(other, path)).status, path).toBe(404);
  }
  const classifying = await other.request({ classifier: first.version, input: 'x' });
  expect(classifying.status).toBe(404);
  expect((await one.request(undefined, { path: '/classifiers/tickets', method: 'DELETE' })).status).toBe(200);
  expect((await get(one, '/classifiers/tickets')).status).toBe(404);
  expect((await one.request({ classifier: 'tickets', input: 'x' })).status).toBe(404);
});

test.each(Object.entries(FIRST_SCHEMAS))(
  'evaluates a classifier by the label of a schema with %s',
  async (_, first) => {
    const { schema, output, property } = first;
    const one = await createClassifyCaller(() => textMessage(JSON.stringify(output)));
    const stored = await put(one, 'tickets', { schema });
    const right = output[property];
    const wrong = stored.labels.find(({ name }) => name !== right)?.name;
    const examples = [right, wrong].map((label, index) => ({ input: `Text ${index}`, label }));
    const report = await one.request({ examples }, { path: '/classifiers/tickets/evaluate' });
    expect(await report.json()).toMatchObject({
      accuracy: 0.5,
      mistakes: [{ id: '1', expected: [wrong], given: [right] }],
    });
  },
);

test('an admin’s classifier is available to all accounts, and an account’s own takes precedence', async () => {
  const one = await createClassifyCaller(() => labelMessage('bug'));
  const admin = bearerHeader(await createToken('root', ['admin']));
  expect(await put(one, 'shared', { labels: ['bug', 'theirs'] }, admin)).toMatchObject({ owner: 'deployment' });
  expect(await (await one.request({ classifier: 'shared', input: 'x' })).json()).toMatchObject({ label: 'bug' });
  expect(one.app.sent.at(-1)?.text).toContain('- theirs');
  await put(one, 'shared', { labels: ['bug', 'mine'] });
  await one.request({ classifier: 'shared', input: 'x' });
  expect(one.app.sent.at(-1)?.text).toContain('- mine');
  await one.request(undefined, { path: '/classifiers/shared', method: 'DELETE', headers: admin });
});

test('storing a classifier creates no prefix with the same name', async () => {
  const one = await createClassifyCaller(() => labelMessage('bug'), { scopes: ['classify', 'prefixes', 'messages'] });
  await put(one, 'same', { labels: LABELS });
  expect((await get(one, '/prefixes/same')).status).toBe(404);
});

test('rejects an invalid classifier and stores nothing', async () => {
  const one = await createClassifyCaller(() => labelMessage('bug'));
  for (const [body, words] of [
    [{}, 'labels'],
    [{ labels: [] }, 'labels: Input should have at least one label'],
    [{ labels: ['a', 'a'] }, 'twice'],
    [{ labels: ['a', ''] }, 'labels.1'],
    [{ labels: ['a', ' b'] }, 'labels.1'],
    [{ labels: ['a'], nonsense: 1 }, 'nonsense'],
    [{ labels: ['a'], votes: 0 }, 'votes'],
    [{ labels: ['a'], cache_seconds: 59 }, 'cache_seconds'],
    [{ labels: ['a'], fields: [] }, 'fields'],
    [{ schema: { type: 'x' } }, 'schema'],
    [{ version: 'tickets' }, 'version'],
    [{ version: 'other@00000000000000000000000000000000' }, 'version'],
    [
      { labels: Array.from({ length: 400 }, (_, n) => ({ name: `${n}`, description: 'x'.repeat(2_000) })) },
      'Request exceeds',
    ],
  ] as const) {
    const response = await one.request(body, { path: '/classifiers/tickets', method: 'PUT' });
    expect([400, 413], JSON.stringify(body).slice(0, 200)).toContain(response.status);
    expect((await readError(response)).message).toContain(words);
  }
  expect((await one.request({ labels: ['a'] }, { path: '/classifiers/-', method: 'PUT' })).status).toBe(400);
  expect(await (await get(one, '/classifiers')).json()).toMatchObject({ data: [] });
  expect(one.app.sent).toEqual([]);
});

test('evaluates a version with the requested model, and reports its accuracy, mistakes and cost', async () => {
  const answers: Record<string, unknown> = {
    'billing 1': 'billing',
    'billing 2': 'bug',
    'bug 1': 'bug',
    'bug 2': 'nonsense',
    'other 1': 'other',
  };
  const one = await createClassifyCaller((sent) => {
    const { model } = JSON.parse(sent.text) as { model: string };
    const answer = labelMessage(answers[inputTextOf(sent)]);
    return model === HAIKU ? answer : { ...labelMessage(inputTextOf(sent).split(' ')[0]), model };
  });
  const { version } = await put(one, 'tickets', { labels: LABELS });
  const newer = await put(one, 'tickets', { labels: LABELS, instructions: 'Anew.' });
  const examples = Object.keys(answers).map((input) => ({ input, label: input.split(' ')[0] }));
  const path = '/classifiers/tickets/evaluate';
  const tried = async (more: object) =>
    (await (await one.request({ examples, ...more }, { path })).json()) as EvaluationReport;
  const first = await tried({ version });
  const best = await tried({ version: newer.version.split('@')[1], model: 'claude-sonnet-5-5' });
  expect([first.version, first.model]).toEqual([version, HAIKU]);
  expect([best.version, best.model]).toEqual([newer.version, 'claude-sonnet-5-5']);
  // Four have an answer, one has none after its correction, and three are right.
  expect(first).toMatchObject({
    examples: 5,
    accuracy: 3 / 5,
    macro_f1: (2 / 3 + 1 / 2 + 1) / 3,
    cost_usd: usd(6 * COST_NANODOLLARS),
    cost_per_thousand_usd: usd((6 * COST_NANODOLLARS * 1_000) / 5),
    mistakes: [
      { id: '1', input: 'billing 2', expected: ['billing'], given: ['bug'] },
      { id: '3', input: 'bug 2', expected: ['bug'], given: null },
    ],
    skipped: [],
    confusion: [
      { expected: 'billing', given: [{ count: 1 }, { count: 1 }, { count: 0 }], unanswered: 0 },
      { expected: 'bug', given: [{ count: 0 }, { count: 1 }, { count: 0 }], unanswered: 1 },
      { expected: 'other', given: [{ count: 0 }, { count: 0 }, { count: 1 }], unanswered: 0 },
    ],
  });
  expect(best).toMatchObject({ accuracy: 1, macro_f1: 1, mistakes: [] });
  const ledger = await one.readLedgerRows();
  expect(ledger.reduce((sum, row) => sum + Math.round(row.cost_usd * 1e9), 0)).toBe(
    Math.round((first.cost_usd + best.cost_usd) * 1e9),
  );
  // Nothing comes from the cache, or the cost would be none.
  expect(ledger).toHaveLength(6 + 5);
});

test('streams the progress of an evaluation, and counts upstream errors as skipped examples instead of mistakes', async () => {
  const overloaded = { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } };
  const one = await createClassifyCaller((_, nth) =>
    nth === 0 ? labelMessage('bug') : Response.json(overloaded, { status: 529 }),
  );
  const { version } = await put(one, 'tickets', { labels: LABELS });
  const examples = ['a', 'b', 'c'].map((input) => ({ id: input, input, label: 'bug' }));
  const response = await one.request({ examples, stream: true }, { path: '/classifiers/tickets/evaluate' });
  const events = [...(await response.text()).matchAll(/^data: (.*)$/gm)].map(
    ([, data]) => JSON.parse(data ?? '') as Record<string, unknown>,
  );
  expect(events.map(({ type, done }) => [type, done])).toEqual([
    ['progress', 1],
    ['progress', 2],
    ['progress', 3],
    ['summary', undefined],
  ]);
  const report = events[3] as unknown as EvaluationReport;
  expect(report).toMatchObject({ version, examples: 1, accuracy: 1, mistakes: [] });
  expect(report.skipped).toHaveLength(2);
  expect(report.skipped[0]?.error.type).toBe('overloaded_error');
  await one.app.waitUntilSettled();
  expect(one.app.log.at(-1)).toMatchObject({ cost_usd: usd(COST_NANODOLLARS) });
});

test('rejects invalid examples of an evaluation before any upstream request', async () => {
  const one = await createClassifyCaller(() => textMessage('{}'));
  await put(one, 'tickets', { labels: LABELS });
  const path = '/classifiers/tickets/evaluate';
  for (const [body, words] of [
    [{}, 'examples'],
    [{ examples: [] }, 'at least one example'],
    [{ examples: [{ input: 'x' }] }, 'examples.0: requires `label`'],
    [{ examples: [{ input: 'x', label: 'nobody' }] }, '"nobody" is not a label of'],
    [{ examples: [{ input: 'x', label: null }] }, 'has no label'],
    [{ examples: [{ input: 'x', labels: ['bug'] }] }, 'requires `label`'],
    [{ examples: [{ input: ' ', label: 'bug' }] }, 'must not be empty'],
    [
      {
        examples: [
          { id: 'a', input: 'x', label: 'bug' },
          { id: 'a', input: 'y', label: 'bug' },
        ],
      },
      'each id must be unique',
    ],
    [{ examples: [{ input: 'x', label: 'bug' }], models: [HAIKU] }, 'models'],
  ] as const) {
    const response = await one.request(body, { path });
    expect(response.status, JSON.stringify(body)).toBe(400);
    expect((await readError(response)).message).toContain(words);
  }
  const example = { input: 'x', label: 'bug' };
  expect((await one.request({ examples: [example], version: 'others' }, { path })).status).toBe(404);
  expect((await one.request({ examples: [example] }, { path: '/classifiers/nobody/evaluate' })).status).toBe(404);
  expect(one.app.sent).toEqual([]);
});
