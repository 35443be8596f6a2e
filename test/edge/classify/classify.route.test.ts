import { transformJSONSchema } from '@anthropic-ai/sdk/lib/transform-json-schema';
import { describe, expect, test } from 'vitest';
import type { ClassifyAnswer, classifyResults } from '#edge/classify/classify-answers.schema.ts';
import { findRejectedSchemaParts } from '#edge/claude/request/schema-faults.ts';
import type * as z from '#edge/kit/http/zod.ts';
import { resolveSchemaReferences } from '#edge/kit/json/schema-references.ts';
import type { AdmissionDecision } from '#edge/money/contracts/admission.ts';
import { readError } from '#test/support/app.ts';
import {
  bindings,
  COST_NANODOLLARS,
  createClassifyCaller,
  HAIKU,
  inputTextOf,
  LABELS,
  labelMessage,
  textMessage,
  USAGE,
} from '#test/support/classification.ts';
import { waitForCondition } from '#test/support/eventually.ts';
import { FIRST_SCHEMAS } from '#test/support/first-schemas.ts';
import { bearerHeader, createToken } from '#test/support/tokens.ts';
import { yieldToEventLoop } from '#test/support/yield-to-event-loop.ts';

type Results = z.output<typeof classifyResults>;

const usd = (nanodollars: number) => nanodollars / 1e9;
const nano = (dollars: number) => Math.round(dollars * 1e9);
const NO_USAGE = { cache_read_input_tokens: 0, cache_creation_input_tokens: 0 };
const ticket = (input: string) => ({ input, labels: LABELS });

async function jsonOf<Json>(response: Response): Promise<Json> {
  const text = await response.text();
  expect(response.status, text).toBe(200);
  return JSON.parse(text) as Json;
}

const answerOf = (response: Response) => jsonOf<ClassifyAnswer>(response);
const resultsOf = (response: Response) => jsonOf<Results>(response);

test('returns one label and its exact cost for one text, and adds a row to the ledger', async () => {
  const { request: ask, readLedgerRows: rows, app } = await createClassifyCaller(() => labelMessage('billing'));
  const response = await ask(ticket('I was charged twice'));
  expect(response.headers.get('sluice-cost-usd')).toBe('0.0000245');
  expect(await answerOf(response)).toEqual({
    label: 'billing',
    cached: false,
    usage: { ...USAGE, ...NO_USAGE },
    cost_usd: usd(COST_NANODOLLARS),
    model: HAIKU,
  });
  const [row, ...others] = await rows();
  expect(others).toEqual([]);
  expect(row).toMatchObject({
    request_id: response.headers.get('sluice-request-id'),
    route: 'classify',
    model: HAIKU,
    status: 'complete',
    cost_usd: usd(COST_NANODOLLARS),
  });
  expect(app.log.at(-1)).toMatchObject({
    route: '/classify',
    cost_usd: usd(COST_NANODOLLARS),
    model: HAIKU,
    status: 200,
  });
  expect(app.sent).toHaveLength(1);
  expect(app.sent[0]?.headers.get('x-api-key')).toBe('sk-ant-the-key-of-the-deployment');
  expect(app.sent[0]?.headers.has('authorization')).toBe(false);
  expect(JSON.stringify(app.log)).not.toContain('charged');
});

test.each([
  ['nothing at all', textMessage('')],
  ['no content', textMessage('', { content: [] })],
  ['prose', textMessage('billing')],
  ['broken JSON', textMessage('{"label":"billing"')],
  ['a label of its own', labelMessage('billing!')],
  ['a label in other letters', labelMessage('Billing')],
  ['null where that is not allowed', labelMessage(null)],
  ['a list', labelMessage(['billing'])],
  [
    'a tool call',
    textMessage('', { content: [{ type: 'tool_use', name: 'classify', id: 't', input: { label: 'billing' } }] }),
  ],
  ['a prototype', textMessage('{"label":"__proto__"}')],
])('a response with %s is corrected once, and is never returned as a label', async (_, answer) => {
  const mended = await createClassifyCaller((_sent, nth) => (nth === 0 ? answer : labelMessage('bug')));
  expect(await answerOf(await mended.request(ticket('It crashes')))).toMatchObject({
    label: 'bug',
    cost_usd: usd(2 * COST_NANODOLLARS),
    usage: { input_tokens: 2 * USAGE.input_tokens },
  });
  const [, correction] = mended.app.sent.map(({ text }) => JSON.parse(text) as { messages: { content: object[] }[] });
  expect(correction?.messages).toHaveLength(1);
  expect(correction?.messages[0]?.content).toHaveLength(2);
  expect((await mended.readLedgerRows()).map((row) => row.cost_usd)).toEqual([
    usd(COST_NANODOLLARS),
    usd(COST_NANODOLLARS),
  ]);

  const hopeless = await createClassifyCaller(() => answer);
  const refused = await hopeless.request(ticket('It crashes'));
  expect(refused.headers.get('sluice-cost-usd')).toBe('0.000049');
  expect(refused.headers.get('x-should-retry')).toBe('false');
  expect(refused.status).toBe(500);
  expect((await readError(refused)).message).toContain('no usable response');
  expect(hopeless.app.sent).toHaveLength(2);
  // What was no answer is not kept as one.
  expect((await hopeless.request(ticket('It crashes'))).status).toBe(500);
  expect(hopeless.app.sent).toHaveLength(4);
});

test('repeats the request of a truncated response once with eight times the max_tokens, and never returns its label', async () => {
  const cut = textMessage('{"label":"billing"}', { stop_reason: 'max_tokens', usage: { ...USAGE, output_tokens: 75 } });
  const {
    request: ask,
    app,
    readLedgerRows: rows,
  } = await createClassifyCaller((_sent, nth) => (nth === 0 ? cut : labelMessage('bug')));
  expect(await answerOf(await ask(ticket('It crashes')))).toMatchObject({ label: 'bug' });
  const [first, second] = app.sent.map(({ text }) => JSON.parse(text) as { max_tokens: number });
  expect(second).toEqual({ ...first, max_tokens: 8 * (first?.max_tokens ?? 0) });
  // Each is an admission of its own.
  expect(new Set((await rows()).map((row) => row.request_id)).size).toBe(2);
  const [before = 0, after = 0] = (await rows()).map((row) => row.hold_usd ?? 0);
  expect(after).toBeGreaterThan(2 * before);

  const hopeless = await createClassifyCaller(() => cut);
  const refused = await hopeless.request(ticket('It crashes'));
  expect(refused.status).toBe(500);
  const { message } = await readError(refused);
  expect(message).toContain('cut at its greatest length, 75 tokens');
  expect(message).toContain('shorter labels');
  expect(hopeless.app.sent).toHaveLength(2);
});

test('returns 400 without a second try for a text that the model refuses or that exceeds its context window', async () => {
  for (const [stop_reason, words] of [
    ['refusal', 'refused'],
    ['model_context_window_exceeded', 'too long'],
  ] as const) {
    const {
      request: ask,
      app,
      readLedgerRows: rows,
    } = await createClassifyCaller(() => textMessage('{"label":"bug"}', { stop_reason }));
    const response = await ask(ticket('x'));
    expect(response.status).toBe(400);
    expect(await readError(response)).toMatchObject({
      type: 'invalid_request_error',
      message: expect.stringContaining(words),
    });
    expect(app.sent).toHaveLength(1);
    expect((await rows())[0]?.cost_usd).toBe(usd(COST_NANODOLLARS));
  }
});

test('returns several labels, no label or fields as requested, and validates them against the schema', async () => {
  const multi = await createClassifyCaller(() => textMessage('{"labels":["other","billing","other"]}'));
  expect(await answerOf(await multi.request({ ...ticket('x'), multi: true }))).toMatchObject({
    labels: ['billing', 'other'],
  });
  const none = await createClassifyCaller(() => textMessage('{"labels":[]}'));
  expect(await answerOf(await none.request({ ...ticket('x'), multi: true, allow_none: true }))).toMatchObject({
    labels: [],
  });
  expect((await none.request({ ...ticket('y'), multi: true })).status).toBe(500);
  const nullable = await createClassifyCaller(() => labelMessage(null));
  expect(await answerOf(await nullable.request({ ...ticket('x'), allow_none: true }))).toMatchObject({ label: null });

  const fields = {
    type: 'object',
    properties: { priority: { type: 'integer', minimum: 1, maximum: 3 }, summary: { type: 'string' } },
    required: ['priority'],
  };
  const extracting = await createClassifyCaller((_, nth) =>
    labelMessage('bug', { fields: { priority: nth === 0 ? 9 : 2 } }),
  );
  const answer = await answerOf(await extracting.request({ ...ticket('x'), fields }));
  expect(answer).toMatchObject({ label: 'bug', fields: { priority: 2 }, cost_usd: usd(2 * COST_NANODOLLARS) });
  const sent = JSON.parse(extracting.app.sent[0]?.text ?? '') as { output_config: { format: { schema: object } } };
  expect(sent.output_config.format.schema).toMatchObject({
    properties: { label: { enum: LABELS }, fields: { additionalProperties: false, required: ['priority'] } },
    additionalProperties: false,
    required: ['label', 'fields'],
  });
});

describe.each(Object.entries(FIRST_SCHEMAS))('a schema with %s', (_, { schema, output, property }) => {
  const label = output[property];

  test('is sent to the model as its output format, and the result contains the label and the whole object', async () => {
    const { request: ask, app } = await createClassifyCaller(() => textMessage(JSON.stringify(output)));
    expect(await answerOf(await ask({ input: 'x', schema }))).toEqual({
      label,
      output,
      cached: false,
      usage: { ...USAGE, ...NO_USAGE },
      cost_usd: usd(COST_NANODOLLARS),
      model: HAIKU,
    });
    const sent = JSON.parse(app.sent[0]?.text ?? '') as { output_config: { format: { schema: object } } };
    const { schema: resolved } = resolveSchemaReferences(schema);
    expect(sent.output_config.format.schema).toEqual(transformJSONSchema({ ...resolved }));
    expect(findRejectedSchemaParts(sent)).toEqual([]);
  });

  test('is stored with a classifier, which returns the same result', async () => {
    const { request: ask } = await createClassifyCaller(() => textMessage(JSON.stringify(output)));
    const stored = await ask(
      { schema, examples: [{ input: 'y', output }] },
      { path: '/classifiers/first', method: 'PUT' },
    );
    expect(await stored.json()).toMatchObject({ schema, examples: [{ input: 'y', output }] });
    expect(await answerOf(await ask({ input: 'x', classifier: 'first' }))).toMatchObject({ label, output });
    // From the cache.
    expect(await answerOf(await ask({ input: 'x', classifier: 'first' }))).toMatchObject({
      label,
      output,
      cached: true,
    });
  });
});

test('the label is the property that `label_property` names', async () => {
  const { schema, output } = FIRST_SCHEMAS['two enums and a boolean'];
  const { request: ask } = await createClassifyCaller(() => textMessage(JSON.stringify(output)));
  const answer = await answerOf(await ask({ input: 'x', schema, label_property: 'priority' }));
  expect(answer).toMatchObject({ label: 'high', output });
});

test('returns `label: null` for a null or absent property, and `labels` for a list', async () => {
  const answered = async (properties: object, output: object) => {
    const { request: ask } = await createClassifyCaller(() => textMessage(JSON.stringify(output)));
    return await answerOf(await ask({ input: 'x', schema: { type: 'object', properties } }));
  };
  const mood = { anyOf: [{ enum: ['good', 'bad'] }, { type: 'null' }] };
  expect(await answered({ mood }, { mood: null })).toMatchObject({ label: null, output: { mood: null } });
  expect(await answered({ mood }, {})).toMatchObject({ label: null, output: {} });
  const topics = { type: 'array', items: { enum: ['a', 'b', 'c'] } };
  const several = await answered({ topics }, { topics: ['c', 'a', 'c'] });
  expect(several).toMatchObject({ labels: ['a', 'c'], output: { topics: ['c', 'a', 'c'] } });
  expect(several).not.toHaveProperty('label');
});

test('repeats the request once if the object violates the schema, then returns an error for the input', async () => {
  const schema = {
    type: 'object',
    properties: { mood: { enum: ['good', 'bad'] }, score: { type: 'integer', maximum: 5 } },
  };
  const wrong = { mood: 'good', score: 9 };
  const { request: ask, app } = await createClassifyCaller((_, nth) =>
    textMessage(JSON.stringify(nth === 1 ? { mood: 'bad', score: 5 } : wrong)),
  );
  const corrected = await answerOf(await ask({ input: 'x', schema }));
  expect(corrected).toMatchObject({ label: 'bad', output: { score: 5 }, cost_usd: usd(2 * COST_NANODOLLARS) });
  expect(app.sent[1]?.text).toContain('output.score did not match the schema');
  const { results } = await resultsOf(await ask({ inputs: ['y'], schema }));
  expect(results[0]).toMatchObject({ id: '0', label: null, output: null, error: { type: 'api_error' } });
});

test('counts votes by label, and returns an object with the winning label', async () => {
  const schema = { type: 'object', properties: { mood: { enum: ['good', 'bad'] }, why: { type: 'string' } } };
  const votes = ['bad', 'good', 'good'].map((mood, nth) => textMessage(JSON.stringify({ mood, why: `vote ${nth}` })));
  const { request: ask } = await createClassifyCaller((_, nth) => votes[nth] ?? textMessage('{}'));
  expect(await answerOf(await ask({ input: 'x', schema, votes: 3 }))).toMatchObject({
    label: 'good',
    confidence: 2 / 3,
    output: { mood: 'good', why: expect.stringMatching(/vote [12]/) as string },
  });
});

test('sends the schema as a tool’s input schema to a model without structured output', async () => {
  const { schema, output } = FIRST_SCHEMAS['a model of Pydantic'];
  const content = [{ type: 'tool_use', id: 't', name: 'classify', input: output }];
  const { request: ask, app } = await createClassifyCaller(() => textMessage('', { content, stop_reason: 'tool_use' }));
  expect(await answerOf(await ask({ input: 'x', schema, model: 'some-model' }))).toMatchObject({
    label: 'bug',
    output,
  });
  const sent = JSON.parse(app.sent[0]?.text ?? '') as { tools: { input_schema: object }[] };
  expect(sent.tools[0]?.input_schema).toMatchObject({ properties: { priority: { enum: ['low', 'high'] } } });
});

test('accepts plain texts as inputs, with their indexes as ids', async () => {
  const { request: ask } = await createClassifyCaller(() => labelMessage('bug'));
  const inputs = ['It crashes', { id: 'own', input: 'It hangs' }, 'It burns'];
  const { results } = await resultsOf(await ask({ inputs, labels: LABELS }));
  expect(results.map(({ id, label }) => [id, label])).toEqual([
    ['0', 'bug'],
    ['own', 'bug'],
    ['2', 'bug'],
  ]);
  const twice = await ask({ inputs: ['a', { id: '0', input: 'b' }], labels: LABELS });
  expect([twice.status, (await readError(twice)).message]).toEqual([400, expect.stringContaining('same id') as string]);
  expect((await ask({ inputs: [7], labels: LABELS })).status).toBe(400);
});

test('asks an unknown model to call a tool, and accepts only that call as a result', async () => {
  const call = (input: object) =>
    textMessage('', { content: [{ type: 'tool_use', id: 't', name: 'classify', input }], stop_reason: 'tool_use' });
  const { request: ask, app } = await createClassifyCaller((_, nth) =>
    nth === 0 ? textMessage('{"label":"bug"}') : call({ label: 'bug' }),
  );
  expect(await answerOf(await ask({ ...ticket('x'), model: 'some-model' }))).toMatchObject({
    label: 'bug',
    model: 'some-model',
  });
  const sent = JSON.parse(app.sent[1]?.text ?? '') as Record<string, unknown>;
  expect(sent).toMatchObject({ model: 'some-model', tool_choice: { type: 'auto' } });
  expect(JSON.stringify(sent.system)).toContain('call of the tool `classify`');
  expect(sent).not.toHaveProperty('output_config');
});

test('forces a tool call of a model for which PRICES sets `forced_tools`', async () => {
  const PRICES = JSON.stringify({ 'some-model': { forced_tools: true, prices: { input: 1 } } });
  const { request: ask, app } = await createClassifyCaller(
    () => textMessage('', { content: [{ type: 'tool_use', id: 't', name: 'classify', input: { label: 'bug' } }] }),
    { vars: { PRICES } },
  );
  expect(await answerOf(await ask({ ...ticket('x'), model: 'some-model' }))).toMatchObject({ label: 'bug' });
  const sent = JSON.parse(app.sent[0]?.text ?? '') as Record<string, unknown>;
  expect(sent).toMatchObject({ tool_choice: { type: 'tool', name: 'classify' } });
  expect(JSON.stringify(sent.system)).not.toContain('classify');
});

test('confidence is the share of votes that agree, and absent for a single vote', async () => {
  const votes = ['bug', 'billing', 'billing', 'other', 'billing'];
  const { request: ask, readLedgerRows: rows, app } = await createClassifyCaller((_, nth) => labelMessage(votes[nth]));
  expect(await answerOf(await ask({ ...ticket('x'), votes: 5 }))).toMatchObject({
    label: 'billing',
    confidence: 3 / 5,
    cost_usd: usd(5 * COST_NANODOLLARS),
  });
  expect(await rows()).toHaveLength(5);
  expect(new Set(app.sent.map(({ text }) => text)).size).toBe(5);
  // A vote that failed counts against: the share is of all that were asked for, and such an answer is not kept.
  const failing = await createClassifyCaller((_, nth) =>
    nth === 0 ? Response.json({}, { status: 500 }) : labelMessage('bug'),
  );
  expect(await answerOf(await failing.request({ ...ticket('x'), votes: 2 }))).toMatchObject({
    label: 'bug',
    confidence: 1 / 2,
  });
  await failing.app.waitUntilSettled();
  expect(await answerOf(await failing.request({ ...ticket('x'), votes: 2 }))).toMatchObject({
    confidence: 1,
    cached: false,
  });
});

test('returns a repeated input from the cache at no cost, and never shares the cache between accounts', async () => {
  const first = await createClassifyCaller(() => labelMessage('bug'));
  await answerOf(await first.request(ticket('It crashes')));
  await first.app.waitUntilSettled();
  expect(await answerOf(await first.request(ticket('It crashes')))).toEqual({
    label: 'bug',
    cached: true,
    usage: { input_tokens: 0, output_tokens: 0, ...NO_USAGE },
    cost_usd: 0,
    model: HAIKU,
  });
  expect(first.app.sent).toHaveLength(1);
  expect(await first.readLedgerRows()).toHaveLength(1);
  const second = await createClassifyCaller(() => labelMessage('other'));
  expect(await answerOf(await second.request(ticket('It crashes')))).toMatchObject({ label: 'other', cached: false });
  // Whatever decides the answer is in its key.
  for (const changed of [
    { ...ticket('It crashes '), labels: LABELS },
    { ...ticket('It crashes'), labels: [...LABELS, 'more'] },
    { ...ticket('It crashes'), instructions: 'Be strict.' },
    { ...ticket('It crashes'), votes: 2 },
    { ...ticket('It crashes'), model: 'claude-sonnet-5-5' },
    { ...ticket('It crashes'), cache_seconds: 0 },
  ]) {
    expect(await answerOf(await first.request(changed)), JSON.stringify(changed)).toMatchObject({ cached: false });
  }
});

test('returns a cached label until the classifier changes, and again after a rollback', async () => {
  const { request: ask, app } = await createClassifyCaller((_, nth) => labelMessage(nth === 0 ? 'bug' : 'other'));
  const put = async (body: object) => {
    const response = await ask(body, { path: '/classifiers/tickets', method: 'PUT' });
    return ((await response.json()) as { version: string }).version;
  };
  const classify = async () => {
    const answer = await answerOf(await ask({ classifier: 'tickets', input: 'It crashes' }));
    await app.waitUntilSettled();
    return [answer.label, answer.cached];
  };
  const version = await put({ labels: LABELS });
  expect(await classify()).toEqual(['bug', false]);
  expect(await classify()).toEqual(['bug', true]);
  await put({ labels: LABELS, instructions: 'Crashes are no bugs.' });
  expect(await classify()).toEqual(['other', false]);
  expect(await classify()).toEqual(['other', true]);
  await put({ version });
  expect(await classify()).toEqual(['bug', true]);
  expect(app.sent).toHaveLength(2);
});

test('deletes cached results when the account is erased', async () => {
  const { request: ask, app, account, getObject: object } = await createClassifyCaller(() => labelMessage('bug'));
  await answerOf(await ask(ticket('It crashes')));
  await app.waitUntilSettled();
  const kept = async () => (await bindings.STORE.list({ prefix: `classified:${account}:` })).keys.length;
  expect(await kept()).toBe(1);
  await object().erase();
  await expect.poll(kept).toBe(0);
});

test('returns results in the order of the inputs, each with its own label or error', async () => {
  const { request: ask, readLedgerRows: rows } = await createClassifyCaller((sent) => {
    const input = inputTextOf(sent);
    if (input === 'nonsense') return textMessage('?');
    if (input === 'refused') return textMessage('', { stop_reason: 'refusal' });
    if (input === 'down')
      return Response.json({ type: 'error', error: { type: 'api_error', message: 'No.' } }, { status: 500 });
    return labelMessage(input);
  });
  const texts: [string, unknown][] = [
    ['a', 'bug'],
    ['b', ''],
    ['c', ' \n\t'],
    ['d', 'nonsense'],
    ['e', 7],
    ['f', 'refused'],
    ['g', 'x'.repeat(1_048_577)],
    ['h', 'down'],
    ['i', 'billing'],
    ['j', undefined],
    ['k', 'bug'],
  ];
  const inputs = texts.map(([id, input]) => ({ id, input }));
  const { results, cost_usd, usage } = await resultsOf(await ask({ inputs, labels: LABELS }));
  expect(results.map(({ id, label, cached, error }) => [id, label, cached, error?.type])).toEqual([
    ['a', 'bug', false, undefined],
    ['b', null, false, 'invalid_request_error'],
    ['c', null, false, 'invalid_request_error'],
    ['d', null, false, 'api_error'],
    ['e', null, false, 'invalid_request_error'],
    ['f', null, false, 'invalid_request_error'],
    ['g', null, false, 'request_too_large'],
    ['h', null, false, 'api_error'],
    ['i', 'billing', false, undefined],
    ['j', null, false, 'invalid_request_error'],
    // The same text is asked for once.
    ['k', 'bug', true, undefined],
  ]);
  // a, two of d, f, i
  expect(nano(cost_usd)).toBe(5 * COST_NANODOLLARS);
  expect(usage.input_tokens).toBe(5 * USAGE.input_tokens);
  expect((await rows()).reduce((sum, row) => sum + nano(row.cost_usd), 0)).toBe(5 * COST_NANODOLLARS);
});

test('rejects only texts that the remaining budget cannot pay for, and agrees with the ledger (256 texts)', async () => {
  const refusals: { reason: string; left: number; needed: number }[] = [];
  const {
    request: ask,
    readLedgerRows: rows,
    getObject: object,
  } = await createClassifyCaller((sent) => labelMessage(inputTextOf(sent).startsWith('1') ? 'bug' : 'other'), {
    limits: { usd_per_day: usd(100 * COST_NANODOLLARS) },
    vars: {
      ACCOUNT: watching((maximumCost, answer) => {
        if (answer.outcome !== 'refused') return;
        const { day } = answer.quota;
        if (!day) throw new Error('no day');
        refusals.push({
          reason: answer.refusal.reason,
          left: day.limit - day.settled - day.held,
          needed: maximumCost.inputCost + maximumCost.outputTokens * maximumCost.outputPrice,
        });
      }),
    },
  });
  const inputs = Array.from({ length: 256 }, (_, index) => ({
    id: String(index),
    input: `${index} is what this text says`,
  }));
  const { results, cost_usd } = await resultsOf(await ask({ inputs, labels: LABELS }));
  expect(results.map(({ id }) => id)).toEqual(inputs.map(({ id }) => id));
  const refused = results.filter(({ error }) => error !== null);
  const answered = results.length - refused.length;
  // As long as the budget covers the holds of those that run, the money is spent to the last answer.
  expect(answered).toBeGreaterThan(90);
  expect(answered).toBeLessThanOrEqual(100);
  // Where only others' holds kept a text out, it was asked for again.
  expect(refusals.filter(({ reason }) => reason === 'spend')).toHaveLength(refused.length);
  expect(refusals.every(({ reason }) => reason === 'spend' || reason === 'held')).toBe(true);
  for (const { left, needed } of refusals) expect(left).toBeLessThan(needed);
  for (const { error, label } of refused) {
    expect(label).toBeNull();
    expect(error?.type).toBe('billing_error');
    const [, left, needed] =
      /\$([\d.]+) is left and this request needs \$([\d.]+). It resets at/.exec(error?.message ?? '') ?? [];
    expect(Number(left)).toBeLessThan(Number(needed));
  }
  const ledger = await rows();
  expect(ledger).toHaveLength(answered);
  expect(nano(cost_usd)).toBe(answered * COST_NANODOLLARS);
  expect(ledger.reduce((sum, row) => sum + nano(row.cost_usd), 0)).toBe(nano(cost_usd));
  const { day, running_requests } = await object().getQuotaReport();
  expect({ settled: nano(day.settled_usd), held: day.held_usd, running_requests }).toEqual({
    settled: nano(cost_usd),
    held: 0,
    running_requests: 0,
  });
});

test('classifies all texts of an account that is limited to two concurrent requests, two at a time', async () => {
  let running = 0;
  let most = 0;
  const { request: ask, readLedgerRows: rows } = await createClassifyCaller(
    async () => {
      running += 1;
      most = Math.max(most, running);
      await waitForCondition(() => most >= 2);
      // A third one would come now.
      await yieldToEventLoop(3);
      running -= 1;
      return labelMessage('bug');
    },
    { limits: { concurrent_requests: 2 } },
  );
  const inputs = Array.from({ length: 20 }, (_, index) => ({ id: String(index), input: `text ${index}` }));
  const { results } = await resultsOf(await ask({ inputs, labels: LABELS, votes: 2 }));
  expect(results.filter(({ label }) => label === 'bug')).toHaveLength(20);
  expect(await rows()).toHaveLength(40);
  expect(most).toBe(2);
});

test('sends at most six texts to the upstream at once', async () => {
  let running = 0;
  let most = 0;
  const { request: ask } = await createClassifyCaller(async () => {
    running += 1;
    most = Math.max(most, running);
    // The first ones wait for each other, however slowly they come.
    await waitForCondition(() => most >= 6);
    // A seventh one would come now.
    await yieldToEventLoop(3);
    running -= 1;
    return labelMessage('bug');
  });
  const inputs = Array.from({ length: 30 }, (_, index) => ({ id: String(index), input: `text ${index}` }));
  await resultsOf(await ask({ inputs, labels: LABELS }));
  expect(most).toBe(6);
});

test.each(['sse', 'jsonl'])(
  'streams results in the order of the inputs as %s, followed by a summary',
  async (format) => {
    const { request: ask, app } = await createClassifyCaller((sent) => labelMessage(inputTextOf(sent)));
    const inputs = [...LABELS, 'nonsense'].map((input, index) => ({ id: `t${index}`, input }));
    const response =
      format === 'sse'
        ? await ask({ inputs, labels: LABELS, stream: true })
        : await ask({ inputs, labels: LABELS }, { headers: { accept: 'application/jsonl' } });
    expect(response.headers.get('content-type')).toBe(format === 'sse' ? 'text/event-stream' : 'application/jsonl');
    const text = await response.text();
    const lines =
      format === 'sse'
        ? [...text.matchAll(/^event: (\w+)\ndata: (.*)\n\n/gm)]
        : text
            .trim()
            .split('\n')
            .map((line) => ['', (JSON.parse(line) as { type: string }).type, line]);
    const events = lines.map(([, name, data]) => {
      const parsed = JSON.parse(data ?? '') as { type: string; id?: string; label?: string | null };
      expect(parsed.type).toBe(name);
      return parsed;
    });
    expect(events.slice(0, -1).map(({ id, label }) => [id, label])).toEqual([
      ['t0', 'billing'],
      ['t1', 'bug'],
      ['t2', 'other'],
      ['t3', null],
    ]);
    expect(events.at(-1)).toEqual({
      type: 'summary',
      usage: { input_tokens: 1_000, output_tokens: 45, ...NO_USAGE },
      cost_usd: usd(5 * COST_NANODOLLARS),
      model: HAIKU,
    });
    await app.waitUntilSettled();
    expect(app.log.at(-1)).toMatchObject({ status: 200, cost_usd: usd(5 * COST_NANODOLLARS) });
  },
);

test('sends no further texts after the caller disconnects, and aborts and settles the running requests', async () => {
  for (const stream of [true, false]) {
    const leaving = new AbortController();
    let aborted = 0;
    const {
      request: ask,
      app,
      readLedgerRows: rows,
      getObject: object,
    } = await createClassifyCaller(async ({ signal }, nth) => {
      if (nth < 3) return labelMessage('bug');
      signal?.addEventListener('abort', () => (aborted += 1));
      if (nth === 8) void yieldToEventLoop(3).then(() => leaving.abort());
      return await new Promise<never>(() => {});
    });
    const inputs = Array.from({ length: 100 }, (_, index) => ({ id: String(index), input: `text ${index}` }));
    const asked = ask({ inputs, labels: LABELS, stream }, { signal: leaving.signal });
    const response = await asked.catch(() => undefined);
    if (stream) {
      const reader = response?.body?.getReader();
      for (let results = 0; results < 3; results += 1) await reader?.read();
    }
    await app.waitUntilSettled();
    expect(app.sent).toHaveLength(9);
    expect(aborted).toBe(6);
    const ledger = await rows();
    expect(
      ledger
        .map(({ status }) => status)
        .sort()
        .reverse(),
    ).toEqual([...Array(3).fill('complete'), ...Array(6).fill('client_gone')]);
    expect(
      ledger.every(
        ({ status, estimated, hold_usd, cost_usd }) => status === 'complete' || (estimated && cost_usd === hold_usd),
      ),
    ).toBe(true);
    expect((await object().getQuotaReport()).day.held_usd).toBe(0);
  }
});

test('puts a prefix before the labels, uses its model, and records its version in the ledger', async () => {
  const {
    request: ask,
    app,
    readLedgerRows: rows,
  } = await createClassifyCaller(() => labelMessage('bug'), { scopes: ['classify', 'prefixes', 'messages'] });
  const put = await ask(
    {
      system: 'You work for Acme.',
      tools: [],
      model: 'claude-sonnet-5-5',
      cache_ttl: '1h',
      messages: [
        { role: 'user', content: 'Hello' },
        { role: 'assistant', content: 'Hi' },
      ],
    },
    { path: '/prefixes/acme', method: 'PUT' },
  );
  const { version } = (await put.json()) as { version: string };
  app.sent.length = 0;
  expect(await answerOf(await ask({ ...ticket('x'), prefix: 'acme' }))).toMatchObject({
    label: 'bug',
    model: 'claude-sonnet-5-5',
  });
  const sent = JSON.parse(app.sent[0]?.text ?? '') as { system: { text: string }[]; messages: { role: string }[] };
  expect(sent.system[0]?.text).toBe('You work for Acme.');
  expect(sent.messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'user']);
  // The input is not written to the upstream's cache, where nobody would read it.
  expect(JSON.stringify(sent.messages.at(-1))).not.toContain('cache_control');
  expect(sent).not.toHaveProperty('cache_control');
  expect((await rows()).at(-1)?.prefix).toBe(version);
  const unknown = await ask({ ...ticket('x') }, { headers: { 'sluice-prefix': 'nobody' } });
  expect(unknown.status).toBe(404);
});

test('returns the status and error type that match an account limit or an upstream error', async () => {
  const dear = { ...labelMessage('bug'), usage: { input_tokens: 200, output_tokens: 1_000_000 } };
  const spent = await createClassifyCaller(() => dear, { limits: { usd_per_day: 0.01 } });
  expect((await spent.request(ticket('x'))).status).toBe(200);
  await spent.readLedgerRows();
  const small = await createClassifyCaller(() => labelMessage('bug'), { limits: { usd_per_day: 0.000001 } });
  for (const [refused, waits] of [
    [await spent.request(ticket('y')), true],
    [await small.request(ticket('x')), false],
  ] as const) {
    expect(refused.status).toBe(429);
    expect(refused.headers.get('sluice-limited-by')).toBe('account');
    // A limit that is smaller than one text is not one that resets.
    expect(Number(refused.headers.get('retry-after')) > 0).toBe(waits);
    expect((await readError(refused)).type).toBe('billing_error');
  }
  const barred = await createClassifyCaller(() => labelMessage('bug'), { limits: { models: ['claude-opus-5-5'] } });
  expect((await barred.request(ticket('x'))).status).toBe(404);
  for (const [status, answered, type] of [
    [401, 500, 'api_error'],
    [400, 400, 'invalid_request_error'],
    [404, 404, 'not_found_error'],
    [429, 429, 'rate_limit_error'],
    [529, 529, 'overloaded_error'],
    [500, 500, 'api_error'],
  ] as const) {
    const { request: ask, readLedgerRows: rows } = await createClassifyCaller(() =>
      Response.json({ type: 'error', error: { type: 'some_error', message: 'The upstream’s words.' } }, { status }),
    );
    const response = await ask(ticket('x'));
    expect(response.status).toBe(answered);
    const { type: told, message } = await readError(response);
    expect(told).toBe(type);
    // What the operator's key may not, or not now, is told in words of the edge.
    if (status === 401 || status === 429) expect(message).not.toContain('words');
    else expect(message).toBe('The upstream’s words.');
    expect((await rows()).map(({ cost_usd }) => cost_usd)).toEqual([0]);
  }
});

type MaximumCost = { inputCost: number; outputTokens: number; outputPrice: number };

/** The accounts, with a look at each final answer to a request for admission. */
function watching(look: (maximumCost: MaximumCost, answer: AdmissionDecision) => void): object {
  const { ACCOUNT } = bindings;
  return {
    idFromName: (name: string) => ACCOUNT.idFromName(name),
    get(id: DurableObjectId) {
      const stub = ACCOUNT.get(id);
      return new Proxy(stub, {
        get: (target, name) => {
          if (name !== 'admitJson') return Reflect.get(target, name) as unknown;
          return async (ask: string) => {
            const answer = await target.admitJson(ask);
            look(
              (JSON.parse(ask) as { maximumCost: MaximumCost }).maximumCost,
              JSON.parse(answer) as AdmissionDecision,
            );
            return answer;
          };
        },
      });
    },
  };
}

test('a restricted token may use only the classifiers that it names, and cannot override their settings', async () => {
  const { app } = await createClassifyCaller(() => labelMessage('billing'));
  const root = bearerHeader(await createToken('root', ['admin']));
  const put = { method: 'PUT', headers: { ...root, 'content-type': 'application/json' } };
  const stored = await app.fetch('/classifiers/tickets', { ...put, body: JSON.stringify({ labels: LABELS }) });
  expect(stored.status).toBe(200);
  const only = { classifiers: ['tickets'] };
  const page = bearerHeader(await createToken('page', ['classify'], { only }));
  const ask = (body: object, headers: Record<string, string> = {}) =>
    app.post('/classify', { input: 'I was charged twice', ...body }, { ...page, ...headers });
  expect(await answerOf(await ask({ classifier: 'tickets' }))).toMatchObject({ label: 'billing' });
  const before = app.sent.length;
  for (const [body, headers, says] of [
    [{ labels: LABELS }, {}, /^labels: set by the classifier/],
    [{ classifier: 'other' }, {}, /^classifier: this credential can use only tickets/],
    [{}, {}, /^classifier: /],
    [{ classifier: 'tickets', model: HAIKU }, {}, /^model: /],
    [{ classifier: 'tickets', votes: 3 }, {}, /^votes: /],
    [{ classifier: 'tickets', prefix: 'p' }, {}, /^prefix: /],
    [{ classifier: 'tickets' }, { 'sluice-prefix': 'p' }, /^sluice-prefix: /],
    [{ classifier: 'tickets', input: undefined, inputs: [{ id: 'a', input: 'b' }], batch: true }, {}, /^batch: /],
  ] as const) {
    const refused = await ask(body, headers);
    expect(refused.status).toBe(403);
    expect((await readError(refused)).message).toMatch(says);
  }
  expect(app.sent).toHaveLength(before);
  // What the account has stored under the same name is another classifier.
  const own = bearerHeader(await createToken('page', ['classify', 'prefixes']));
  const labels = [{ name: 'mine' }, { name: 'yours' }];
  await app.fetch('/classifiers/tickets', {
    ...put,
    headers: { ...put.headers, ...own },
    body: JSON.stringify({ labels }),
  });
  await ask({ classifier: 'tickets', input: 'Another one' });
  expect(app.sent.at(-1)?.text).not.toContain('mine');
});
