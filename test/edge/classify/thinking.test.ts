import { describe, expect, test } from 'vitest';
import type { ClassifyAnswer } from '#edge/classify/classify-answers.schema.ts';
import { ModelTable } from '#edge/claude/models/models.ts';
import { readError, type SentRequest } from '#test/support/app.ts';
import { type Caller, createClassifyCaller, HAIKU, LABELS, textMessage } from '#test/support/classification.ts';
import { LABELLING_METHODS, labelAndCheck } from '#test/support/labelling-methods.ts';
import { createThinkingApi } from '#test/support/thinking-label-api.ts';

interface AskedUp {
  model: string;
  max_tokens: number;
  thinking?: { type: string };
  output_config?: { effort?: string };
}

const DISABLED = { type: 'disabled' };
const BETWEEN_TOOLS = { type: 'between_tools' };

/** What keeps each model from thinking, as Anthropic's pages say, and whether a classifier adds tokens for it. */
const PUBLISHED = [
  ['claude-fable-5-2', undefined, true],
  ['claude-mythos-5-2', undefined, true],
  ['claude-fable-5-1', undefined, true],
  ['claude-mythos-5-1', undefined, true],
  ['claude-fable-5', undefined, true],
  ['claude-mythos-5', undefined, true],
  ['claude-opus-5-5', undefined, true],
  ['claude-opus-5', DISABLED, false],
  ['claude-opus-4-8', undefined, false],
  ['claude-opus-4-7', undefined, false],
  ['claude-opus-4-6', undefined, false],
  ['claude-opus-4-5', undefined, false],
  ['claude-opus-4-5-20251101', undefined, false],
  ['claude-sonnet-5-5', BETWEEN_TOOLS, false],
  ['claude-sonnet-5', DISABLED, false],
  ['claude-sonnet-4-6', undefined, false],
  ['claude-sonnet-4-5', undefined, false],
  ['claude-haiku-5-5', DISABLED, false],
  ['claude-haiku-4-5', undefined, false],
] as const;

const ROOM = 4_096;
/** A label by itself takes far fewer tokens than this. */
const SHORT = 200;

const bodyOf = ({ text }: Pick<SentRequest, 'text'>) => JSON.parse(text) as AskedUp;
/** The Messages requests among what has gone up. */
const askedUp = ({ app }: Pick<Caller, 'app'>) =>
  app.sent.filter(({ url }) => url.pathname.endsWith('/messages')).map(bodyOf);

const refusal = (status: number, type: string, message: string) =>
  Response.json({ type: 'error', error: { type, message } }, { status });

const fromApi = ({ method, text, url }: SentRequest) => createThinkingApi().fetch(url.href, { method, body: text });

describe.each([
  ['classify', 100, LABELLING_METHODS.classify.models],
  ['batch', 50, LABELLING_METHODS.batch.models],
  // What depends on the model is the same in these.
  ['webhook', 50, [HAIKU, 'claude-opus-5-5']],
  ['choice', 25, [HAIKU]],
] as const)('labelling by %s', (way, count, models) => {
  test.each(models)('%s labels all texts correctly at the price in the guide', async (model) => {
    await labelAndCheck(way, model, count);
  });
});

test.each(PUBLISHED)(
  '%s labels a text in one request, with the thinking setting that the model accepts',
  async (model, off, room) => {
    const { request: ask, app, readLedgerRows: rows } = await createClassifyCaller(fromApi);
    const answer = await ask({ input: 'bug is what it is', labels: LABELS, model });
    expect(await answer.json<ClassifyAnswer>()).toMatchObject({ label: 'bug', model });
    expect(app.sent).toHaveLength(1);
    const [up] = app.sent.map(bodyOf);
    expect(up?.thinking).toEqual(off);
    // Who cannot be told to stop is told to think as little as possible.
    expect(up?.output_config?.effort).toBe(room ? 'low' : undefined);
    const tokens = up?.max_tokens ?? 0;
    expect(tokens).toBeLessThan(SHORT + (room ? ROOM : 0));
    expect(tokens).toBeGreaterThan(room ? ROOM : 0);
    // The hold pays for all that may be written.
    const [row] = await rows();
    const { prices } = new ModelTable().findPriceRow(model).row;
    expect(row?.hold_usd).toBeGreaterThan((tokens * prices.output) / 1e6);
  },
);

test('sends no thinking setting to an unknown model, and adds tokens for its thinking to max_tokens', async () => {
  const { request: ask, app } = await createClassifyCaller(() =>
    textMessage('', { content: [{ type: 'tool_use', id: 't', name: 'classify', input: { label: 'bug' } }] }),
  );
  for (const model of ['claude-of-the-future', 'glm-4-5']) {
    expect(await (await ask({ input: 'x', labels: LABELS, model })).json()).toMatchObject({ label: 'bug' });
    const up = bodyOf(app.sent.at(-1) ?? { text: '{}' });
    expect(up).not.toHaveProperty('thinking');
    expect(up).not.toHaveProperty('output_config');
    expect(up.max_tokens).toBeGreaterThan(ROOM);
  }
});

const LONG = { content: [], stop_reason: 'max_tokens', usage: { input_tokens: 200, output_tokens: 4_171 } };

test('raises max_tokens at the second try for a model that always thinks, and suggests another model if that fails', async () => {
  const model = 'claude-opus-5-5';
  const long = await createClassifyCaller((sent) =>
    textMessage('{"label":"bug"}', bodyOf(sent).max_tokens > 10_000 ? {} : LONG),
  );
  expect(await (await long.request({ input: 'x', labels: LABELS, model })).json()).toMatchObject({ label: 'bug' });
  expect(long.app.sent).toHaveLength(2);

  const hopeless = await createClassifyCaller(() => textMessage('', LONG));
  const failed = await readError(await hopeless.request({ input: 'x', labels: LABELS, model }));
  expect(failed.message).toContain('4171 tokens');
  expect(failed.message).toContain(`${model} can think`);
  expect(failed.message).toContain(HAIKU);

  // 0.1 dollars pay for the first try, and not for the second.
  const poor = await createClassifyCaller(() => textMessage('', LONG), {
    limits: { usd_per_day: 0.1, on_shortfall: 'refuse' },
  });
  const refused = await poor.request({ input: 'x', labels: LABELS, model });
  expect(refused.status).toBe(429);
  const { message } = await readError(refused);
  for (const part of ['was cut', 'second attempt', 'your daily limit', HAIKU]) expect(message).toContain(part);
  expect(askedUp(poor)).toHaveLength(1);
});

test.each([
  ['claude-sonnet-5-5', HAIKU, DISABLED],
  [HAIKU, 'claude-sonnet-5-5', BETWEEN_TOOLS],
  [HAIKU, 'claude-opus-5-5', undefined],
])('falls back from %s to %s with a request and a hold for the fallback model', async (model, other, off) => {
  const upstreams = [{ name: 'east', kind: 'anthropic', base_url: `https://${crypto.randomUUID()}.test` }];
  const asking = await createClassifyCaller(
    (sent) => (bodyOf(sent).model === model ? refusal(529, 'overloaded_error', 'Overloaded') : fromApi(sent)),
    {
      vars: {
        UPSTREAM: '',
        ANTHROPIC_API_KEY: '',
        UPSTREAMS: JSON.stringify(upstreams),
        UPSTREAM_EAST_KEY: 'key-east',
      },
    },
  );
  const answer = await asking.request(
    { input: 'bug is what it is', labels: LABELS, model },
    { headers: { 'sluice-fallback-models': other } },
  );
  expect(await answer.json<ClassifyAnswer>()).toMatchObject({ label: 'bug', model: other });
  const [, up] = askedUp(asking);
  expect(up).toMatchObject({ model: other });
  expect(up?.thinking).toEqual(off);
  const { prices } = new ModelTable().findPriceRow(other).row;
  expect((await asking.readLedgerRows()).at(-1)?.hold_usd).toBeGreaterThan(
    ((up?.max_tokens ?? 0) * prices.output) / 1e6,
  );
});

test('sends a request for the fallback model when the budget cannot pay for the requested model', async () => {
  const asking = await createClassifyCaller(fromApi, { limits: { usd_per_day: 0.001 } });
  const answer = await asking.request(
    { input: 'bug is what it is', labels: LABELS, model: 'claude-fable-5', cache_seconds: 0 },
    { headers: { 'sluice-fallback-models': `claude-sonnet-5-5, ${HAIKU}` } },
  );
  expect(await answer.json<ClassifyAnswer>()).toMatchObject({ label: 'bug', model: HAIKU });
  expect(askedUp(asking)).toMatchObject([{ model: HAIKU, thinking: DISABLED }]);
});
