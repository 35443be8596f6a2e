import { describe, expect, test } from 'vitest';
import type { AnsweredExchange } from '#edge/claude/exchange.ts';
import { ModelTable } from '#edge/claude/models/models.ts';
import { computeCost, type Usage } from '#edge/claude/pricing/cost.ts';
import { hasFinalUsage, ReportedUsage } from '#edge/claude/usage/reported-usage.ts';
import { UsageReader } from '#edge/claude/usage/usage-reader.ts';
import { createResponseReport, type ResponseReport } from '#edge/claude/usage/usage-report.ts';
import { StreamedMessageJson } from '#edge/claude/whole-message.ts';
import { createCompleteReport } from '#edge/conversations/turn/answer-report.ts';
import { MessageBuilder } from '#edge/conversations/turn/message-builder.ts';
import { createMessageEventStream } from '#edge/conversations/turn/message-events.ts';
import { encodeUtf8 } from '#edge/kit/http/bytes.ts';
import { getMember, type JsonObject, parseJsonObject } from '#edge/kit/json/object.ts';
import { SseEventReader } from '#edge/kit/sse/frames.ts';
import { writeLabelLines } from '#edge/plugins/batches/label-results.ts';
import { sumBatchResults } from '#edge/plugins/batches/read-results.ts';
import {
  ACTUAL_USAGE,
  API_FORM,
  createUsageMessage,
  createUsageStream,
  USAGE_FORMS,
  type UsageForm,
} from '#test/support/foreign-gateway/usages.ts';
import { contentBlock, messageEnd, messageStart, sseEvent } from '#test/support/wire.ts';

const FORMS = Object.entries({ 'as the API': API_FORM, ...USAGE_FORMS });
const MODEL = 'claude-opus-5-5';

/** What a reader says that an answer has used, and whether that is final. */
type Reading = { usage: Usage | undefined; final: boolean };
const readingOf = (report: Omit<ResponseReport, 'bytes'>): Reading => ({
  usage: report.usage,
  final: hasFinalUsage(report),
});

function builderOf(stream: string): MessageBuilder {
  const builder = new MessageBuilder();
  for (const { data } of new SseEventReader().readCompletedEvents(encodeUtf8(stream)))
    builder.addEventData(parseJsonObject(data) ?? {});
  return builder;
}

function turnOf(stream: string): Reading {
  const builder = builderOf(stream);
  const report = createCompleteReport(builder, 0);
  return { usage: report.usage, final: builder.hasReportedOutput && hasFinalUsage(report) };
}

function byLines(stream: string, pieces = [stream]): Reading {
  const reader = new UsageReader();
  for (const piece of pieces) reader.addPiece(encodeUtf8(piece));
  return readingOf(reader.currentReport);
}

function byEnds(pieces: readonly string[], isAll: boolean): Reading {
  const reader = new UsageReader();
  for (const piece of pieces) reader.addPiece(encodeUtf8(piece), isAll);
  return readingOf(reader.completeStreamReport ?? reader.currentReport);
}

function ridden(stream: string): Reading {
  const message = new StreamedMessageJson();
  message.addPiece(encodeUtf8(stream));
  const whole = JSON.parse([...message.writeJsonParts()].join('')) as JsonObject;
  // What the caller is told is read as a whole answer is.
  const report = createResponseReport(whole, 0);
  return { usage: report.usage, final: byLines(stream).final };
}

/** Ways of a stream. */
const STREAMS: Record<string, (stream: string) => Reading> = {
  'by its lines': (stream) => byLines(stream),
  'in single characters': (stream) => byLines(stream, [...stream]),
  'by its ends, at once': (stream) => byEnds([stream], true),
  'by its ends, in pieces': (stream) => byEnds(stream.match(/.{1,500}/gs) ?? [], false),
  'by a turn': turnOf,
  'as an answer that rides': ridden,
};

/** Ways of a whole answer. */
const WHOLES: Record<string, (message: JsonObject) => Reading> = {
  relayed: (message) => readingOf(createResponseReport(message, 0)),
  'by a turn': (message) => turnOf(createMessageEventStream(message)),
};

const PROMPT = ({ input_tokens = 0, cache_read_input_tokens = 0, cache_creation_input_tokens = 0 }: Usage) => ({
  input_tokens,
  cache_read_input_tokens,
  cache_creation_input_tokens,
});

/** Checks what was read of a form against what it tells. */
function check({ usage, final }: Reading, tells: UsageForm['streamReports']): void {
  expect(final).toBe(tells === 'all');
  if (tells === 'all') expect(usage).toMatchObject(ACTUAL_USAGE);
  if (tells !== 'output') return;
  const { output_tokens, output_tokens_details, server_tool_use } = ACTUAL_USAGE;
  expect(usage).toMatchObject({ output_tokens, output_tokens_details, server_tool_use });
  expect(Object.values(PROMPT(usage ?? {}))).toEqual([0, 0, 0]);
}

describe.each(Object.entries(STREAMS))('a stream that is read %s', (_, read) => {
  // A stream without a beginning does not become a whole message.
  const forms = FORMS.filter(([, { start }]) => start !== undefined || read !== ridden);
  test.each(forms)('reports the usage and whether it is final: %s', (_name, form) => {
    check(read(createUsageStream(form)), form.streamReports);
  });
});

describe.each(Object.entries(WHOLES))('a non-streaming response (%s)', (_, read) => {
  test.each(FORMS)('reports the usage and whether it is final: %s', (_name, form) => {
    check(read(createUsageMessage(form)), form.wholeReports);
  });
});

/** Lines of results as the upstream has answered them. */
function answered(lines: readonly object[]): AnsweredExchange {
  const bytes = encodeUtf8(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  const exchange = {
    async *readPieces() {
      yield bytes;
    },
    closeExchange: () => undefined,
  };
  return { response: new Response(), exchange: exchange as never };
}

const succeeded = (custom_id: string, form: UsageForm) => ({
  custom_id,
  result: { type: 'succeeded', message: createUsageMessage(form) },
});

test.each(FORMS)(
  'settles a batch result at its actual cost or, estimated, at its share of the hold: %s',
  async (_, form) => {
    const models = new ModelTable();
    const rows = [{ requestId: 'r', model: MODEL, items: 4, hold: 4_000_000_001 }];
    const batch = { rows, seed: 'seed', cacheTtl: '5m', items: 4 } as never;
    const { cost, rows: [row] = [] } = await sumBatchResults(answered([succeeded('a', form)]), batch, {
      models,
      isClaudeApi: true,
    });
    const isExact = form.wholeReports === 'all';
    const bill = computeCost(ACTUAL_USAGE, models.findPriceRow(MODEL).row, { batch: true });
    expect(cost).toBe(isExact ? bill : 1_000_000_001);
    expect(row?.estimated).toBe(!isExact);
  },
);

test.each([
  ['cyber', true, 0],
  ['cyber', false, 200_000_000],
  ['bio', true, 200_000_000],
])('prices a refusal in a batch (category %s, from the Claude API: %s)', async (category, isClaudeApi, bill) => {
  const usage = { input_tokens: 100_000, output_tokens: 0 };
  const stop_details = { type: 'refusal', category, explanation: null };
  const refused = { type: 'message', model: MODEL, content: [], stop_reason: 'refusal', stop_details, usage };
  const line = { custom_id: 'a', result: { type: 'succeeded', message: refused } };
  const rows = [{ requestId: 'r', model: MODEL, items: 1, hold: 4_000_000_000 }];
  const batch = { rows, cacheTtl: '5m', items: 1 } as never;
  const sums = await sumBatchResults(answered([line]), batch, { models: new ModelTable(), isClaudeApi });
  expect(sums).toMatchObject({ cost: bill, rows: [{ estimated: false, tokens: { input: 100_000 } }] });
});

test.each(FORMS)('a label line of a batch reports the known token counts: %s', async (_, form) => {
  const task = { classifier: { labels: [{ name: 'a' }] }, hasStructuredOutput: false } as never;
  const lines = await Array.fromAsync(writeLabelLines(answered([succeeded('a', form)]), task, 0));
  const { usage } = JSON.parse(lines.at(-1) ?? '') as { usage: Usage };
  const { input_tokens } = ACTUAL_USAGE;
  const told = { all: ACTUAL_USAGE, output: createUsageMessage(form).usage, prompt: { input_tokens }, nothing: {} };
  for (const kind of ['input_tokens', 'output_tokens'] as const) {
    expect(usage[kind]).toBe((told[form.wholeReports] as Usage)[kind] ?? 0);
  }
});

/** What several reports tell together. */
function told(...reports: readonly object[]): Usage | undefined {
  const usage = new ReportedUsage();
  for (const [at, report] of reports.entries()) usage.addReport(report, at > 0 ? 'message_delta' : 'message_start');
  return usage.usage;
}

describe('the merged usage reports of one response', () => {
  test('contain the larger prompt, or the later of equal ones, with gaps filled from the earlier', () => {
    const first = { input_tokens: 10, cache_read_input_tokens: 90, cache_creation_input_tokens: 0 };
    expect(told(first, { ...first, input_tokens: 0 })).toEqual(first);
    expect(told(first, { input_tokens: 99, cache_read_input_tokens: 0 })).toEqual(first);
    const equal = { input_tokens: 100, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 };
    expect(told(first, equal)).toEqual(equal);
    expect(told(first, { input_tokens: 12 })).toEqual({ ...first, input_tokens: 12 });
    // In a loop of the API's own tools the later has read more, and does not know for how long it is cached.
    const split = { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 50 };
    const written = { input_tokens: 10, cache_creation_input_tokens: 50, cache_creation: split };
    expect(told(written, { input_tokens: 10, cache_creation_input_tokens: 80 })).toEqual({
      ...written,
      cache_creation_input_tokens: 80,
    });
    // What a smaller one adds is of another prompt.
    expect(told({ input_tokens: 100 }, { input_tokens: 0, cache_creation: split })).toEqual({ input_tokens: 100 });
  });

  test('contain the larger of each growing count, and unknown fields', () => {
    const used = { server_tool_use: { web_search_requests: 3, web_fetch_requests: 1 } };
    const later = { server_tool_use: { web_search_requests: '9', web_fetch_requests: 2, of_the_future: 'x' } };
    expect(told({ output_tokens: 7, ...used }, { output_tokens: 5, ...later })).toEqual({
      output_tokens: 7,
      server_tool_use: { web_search_requests: 3, web_fetch_requests: 2, of_the_future: 'x' },
    });
    const thought = (thinking_tokens: unknown) => ({ output_tokens_details: { thinking_tokens } });
    expect(told(thought(8), thought(null), thought(3))).toEqual(thought(8));
    expect(told(thought(8), { output_tokens_details: null }, { output_tokens_details: 'none' })).toEqual(thought(8));
  });

  test('contain the later of nested values, at any depth', () => {
    const nested = (value: number) =>
      JSON.parse(`${'{"server_tool_use":'.repeat(20_000)}${value}${'}'.repeat(20_000)}`);
    const later = nested(2);
    expect(getMember(told(nested(1), later)?.server_tool_use, 'server_tool_use')).toBe(
      later.server_tool_use.server_tool_use,
    );
  });

  test('contain the last iterations that are not empty', () => {
    const steps = (input_tokens: number) => [{ type: 'message', input_tokens }];
    expect(told({ iterations: steps(1) }, { iterations: steps(2) }, { iterations: [] })?.iterations).toEqual(steps(2));
    expect(told({ iterations: steps(1) }, { iterations: [{ type: 7 }, null] })?.iterations).toEqual(steps(1));
  });
});

test('after a fallback to another model, the token counts come only from the later report', () => {
  const hop = { type: 'fallback', from: { model: MODEL }, to: { model: 'claude-haiku-4-5' } };
  const later = { input_tokens: 40, output_tokens: 5, server_tool_use: { web_search_requests: 1 } };
  const stream =
    messageStart({ usage: { ...ACTUAL_USAGE, inference_geo: 'us', iterations: [{ type: 'message' }] } }) +
    contentBlock(hop) +
    messageEnd(later);
  const alone = { ...later, inference_geo: 'us' };
  expect(byLines(stream)).toEqual({ usage: alone, final: true });
  expect(turnOf(stream)).toEqual({ usage: alone, final: true });
  // It is said twice, and with 0 the second time.
  const twice =
    messageStart({ usage: ACTUAL_USAGE }) +
    contentBlock(hop) +
    sseEvent('message_delta', { delta: { stop_reason: null }, usage: later }) +
    messageEnd({ ...later, input_tokens: 0 });
  expect(byLines(twice).usage).toEqual(later);
  expect(turnOf(twice).usage).toEqual(later);
});

describe('a prompt of 0 tokens', () => {
  const answer = (usage: object, stop_reason = 'end_turn') =>
    hasFinalUsage({
      ...createResponseReport({ type: 'message', stop_reason, usage }, 0),
      completed: true,
      seen: undefined,
    });
  const none = { input_tokens: 0, output_tokens: 0 };

  test('is not final usage, unless the iterations are priced', () => {
    const summary = { type: 'compaction', input_tokens: 9_000, output_tokens: 90 };
    const step = { type: 'message', input_tokens: 50, output_tokens: 5 };
    expect(answer({ input_tokens: 0, output_tokens: 5 })).toBe(false);
    expect(answer({ ...none, iterations: [summary] })).toBe(true);
    expect(answer({ input_tokens: 0, output_tokens: 5, iterations: [summary] })).toBe(false);
    expect(answer({ input_tokens: 0, output_tokens: 5, iterations: [step] })).toBe(true);
    expect(answer({ input_tokens: 0, output_tokens: 5, iterations: [{ ...step, input_tokens: 0 }] })).toBe(false);
    // They tell less than the totals.
    expect(answer({ input_tokens: 0, output_tokens: 6, iterations: [step] })).toBe(false);
    const { row } = new ModelTable().findPriceRow(MODEL);
    expect(computeCost({ input_tokens: 0, output_tokens: 5, iterations: [step] }, row)).toBe(
      computeCost({ input_tokens: 50, output_tokens: 5 }, row),
    );
  });

  test('is not final usage for a refusal', () => {
    expect(answer(none, 'refusal')).toBe(false);
    expect(answer({ ...none, input_tokens: 9 }, 'refusal')).toBe(true);
  });
});

test('an output of 0 is final only for empty content or a compaction summary', () => {
  const told = (content: object[], more: object = {}) =>
    hasFinalUsage(
      createResponseReport({ type: 'message', content, usage: { input_tokens: 50, output_tokens: 0, ...more } }, 0),
    );
  // As an answer of `max_tokens` 0, which fills the prompt cache.
  expect(told([])).toBe(true);
  expect(told([{ type: 'text', text: 'Hi' }])).toBe(false);
  const iterations = [{ type: 'compaction', input_tokens: 9_000, output_tokens: 90 }];
  expect(told([{ type: 'compaction', content: 'So.' }], { iterations })).toBe(true);
});
