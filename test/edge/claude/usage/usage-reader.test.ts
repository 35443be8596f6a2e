import fc from 'fast-check';
import { expect, test } from 'vitest';
import { computeTextTokenUpperBound } from '#edge/claude/pricing/token-upper-bound.ts';
import { UsageReader } from '#edge/claude/usage/usage-reader.ts';
import { createResponseReport, createUnobserved, type ResponseReport } from '#edge/claude/usage/usage-report.ts';
import { TEXT_STREAM, TOOL_STREAM } from '#test/fixtures/streams.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';

const encoder = new TextEncoder();

/** Everything comes at the time at which it was sent. */
function read(pieces: readonly Uint8Array[]): ResponseReport {
  const reader = new UsageReader({ sentAt: 0 });
  for (const piece of pieces) reader.addPiece(piece, false, 0);
  return reader.createReportAsOf(0);
}

const readText = (text: string) => read([encoder.encode(text)]);

/** An event as the API writes it, or with other spacing, or with its members in the opposite order. */
function sse(name: string, data: unknown, form: 'api' | 'spaced' | 'reversed' = 'api'): string {
  const json = JSON.stringify(
    form === 'reversed' ? reversed(data) : data,
    undefined,
    form === 'spaced' ? ' ' : undefined,
  );
  return `event: ${name}\n${json
    .split('\n')
    .map((line) => `data: ${line}\n`)
    .join('')}\n`;
}

function reversed(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, inner]) => [key, reversed(inner)]),
  );
}

/** What was seen of an answer of which nothing took any time. */
const seen = (more: object) => ({ ...createUnobserved(0), ...more });
/** What frames a block in tokens, and a call of a tool. */
const PER_BLOCK = 4;
const PER_CALL = 40;

const delta = (fields: Record<string, unknown>) => ({ type: 'content_block_delta', index: 0, delta: fields });
const started = (usage: object) => ({ type: 'message_start', message: { type: 'message', model: 'm', usage } });
const ended = (usage: object | null, stop_reason: string | null = 'end_turn') => ({
  type: 'message_delta',
  delta: { stop_reason },
  usage,
});

test.each([
  ['', {}, { input_tokens: 30, output_tokens: 12 }],
  [
    ' with iterations',
    { iterations: [{ type: 'message', input_tokens: 20, output_tokens: 7 }] },
    { input_tokens: 30, output_tokens: 12, iterations: { length: 2 } },
  ],
])('adds the usage of a second message in the same stream%s', (_, more, usage) => {
  const message = (input_tokens: number, output_tokens: number, others: object = {}) =>
    [
      sse('message_start', started({ input_tokens, output_tokens: 1 })),
      sse('content_block_start', { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } }),
      sse('content_block_delta', delta({ type: 'text_delta', text: 'Hi' })),
      sse('content_block_stop', { type: 'content_block_stop', index: 0 }),
      sse('message_delta', ended({ output_tokens, ...others })),
      sse('message_stop', { type: 'message_stop' }),
    ].join('');
  expect(readText(message(10, 5) + message(20, 7, more))).toMatchObject({ usage, completed: true });
  const cut = readText(message(10, 5) + sse('message_start', started({ input_tokens: 20, output_tokens: 1 })));
  expect(cut).toMatchObject({ usage: { input_tokens: 30, output_tokens: 6 }, completed: false });
});

test('reads a stream without event names like the same stream with names', () => {
  for (const stream of [TEXT_STREAM, TOOL_STREAM]) {
    const bare = stream.replaceAll(/^event: .*\n/gm, '');
    expect(bare).not.toBe(stream);
    expect({ ...readText(bare), bytes: 0 }).toEqual({ ...readText(stream), bytes: 0 });
  }
});

test('reports the model, usage, stop reason and size of the documented streams', () => {
  expect(readText(TEXT_STREAM)).toEqual({
    model: 'claude-haiku-4-5-20251001',
    usage: {
      input_tokens: 25,
      cache_creation_input_tokens: 12,
      cache_read_input_tokens: 7,
      cache_creation: { ephemeral_5m_input_tokens: 2, ephemeral_1h_input_tokens: 10 },
      output_tokens: 15,
      service_tier: 'standard',
      inference_geo: 'us',
    },
    stop_reason: 'end_turn',
    bytes: encoder.encode(TEXT_STREAM).length,
    seen: seen({
      said: Math.ceil(PER_BLOCK + computeTextTokenUpperBound('Héllo') + computeTextTokenUpperBound(', "wörld" 🌍\n')),
      is_between: true,
      final: true,
    }),
    completed: true,
    error_type: undefined,
  });
  expect(readText(TOOL_STREAM)).toMatchObject({
    usage: { input_tokens: 25, output_tokens: 40, output_tokens_details: { thinking_tokens: 11 } },
    stop_reason: 'tool_use',
    seen: seen({
      said: Math.ceil(
        PER_CALL +
          ['get_weather', '{"city":', '"Bern"}'].reduce((sum, part) => sum + computeTextTokenUpperBound(part), 0),
      ),
      thinking: Math.ceil(PER_BLOCK + computeTextTokenUpperBound('Which city?')),
      final: true,
    }),
    completed: true,
  });
});

const text = fc.string({
  unit: fc.oneof(fc.constantFrom('"', '\\', '\n', '\u0000', 'é', '漢', '🌍', '\ud800', '}', '{'), fc.string()),
});
const form = fc.constantFrom('api', 'spaced', 'reversed');
const counts = fc.dictionary(
  fc.constantFrom(
    'input_tokens',
    'output_tokens',
    'cache_read_input_tokens',
    'cache_creation',
    'speed',
    'of_the_future',
  ),
  fc.option(fc.oneof(fc.nat(100_000_000), fc.constantFrom<unknown>('fast', 'us', -1, 0.5, 1e300, 100_000_001))),
);
const event = fc.oneof(
  fc.tuple(
    fc.constant('content_block_delta'),
    fc.oneof(
      text.map((said) => delta({ type: 'text_delta', text: said })),
      text.map((said) => delta({ type: 'input_json_delta', partial_json: said })),
      text.map((said) => delta({ type: 'thinking_delta', thinking: said })),
      text.map((said) => delta({ type: 'signature_delta', signature: said })),
      text.map((said) => delta({ type: 'of_the_future', words: said, number: 3 })),
    ),
  ),
  counts.map((usage) => ['message_delta', ended(usage)] as const),
  fc.constant(['ping', { type: 'ping' }] as const),
  fc.constant(['message_stop', { type: 'message_stop' }] as const),
  fc.constant(['error', { type: 'error', error: { type: 'overloaded_error', message: 'busy' } }] as const),
  fc.tuple(fc.constant('of_the_future'), fc.jsonValue()),
);
const stream = fc
  .tuple(counts, fc.array(fc.tuple(event, form), { maxLength: 4 }), fc.boolean())
  .map(([usage, list, crlf]) => {
    const whole =
      sse('message_start', started(usage)) + list.map(([[name, data], how]) => sse(name, data, how)).join('');
    return crlf ? whole.replaceAll('\n', '\r\n') : whole;
  });

test.each([
  ['text', TEXT_STREAM],
  ['tool', TOOL_STREAM],
])('a %s stream is read the same however it is split', (_, source) => {
  const bytes = encoder.encode(source);
  const whole = read([bytes]);
  for (let at = 0; at <= bytes.length; at += 1) expect(read([bytes.slice(0, at), bytes.slice(at)])).toEqual(whole);
  expect(read([...bytes].map((byte) => Uint8Array.of(byte)))).toEqual(whole);
  const crlf = encoder.encode(source.replaceAll('\n', '\r\n'));
  expect(read([...crlf].map((byte) => Uint8Array.of(byte)))).toEqual({ ...whole, bytes: crlf.length });
});

test('any stream is read the same in single bytes, in two pieces and whole', () => {
  tryCases(caseCount(500), stream, fc.nat(), (source, at) => {
    const bytes = encoder.encode(source);
    const place = at % (bytes.length + 1);
    const whole = read([bytes]);
    expect(read([bytes.slice(0, place), bytes.slice(place)])).toEqual(whole);
    expect(read([...bytes].map((byte) => Uint8Array.of(byte)))).toEqual(whole);
  });
});

test('reports the same for a complete stream from its two ends as line by line', () => {
  let quick = 0;
  // As the API has it: `message_delta` once, before the end, and no answer after an error.
  const within = event.filter(([name]) => name !== 'message_delta' && name !== 'error');
  const middle = fc.array(fc.tuple(within, form), { maxLength: 4 });
  const head = fc.tuple(
    counts.map((told) => ({ input_tokens: 5, ...told })),
    form,
  );
  const tail = fc.tuple(
    counts.map((told) => ({ ...told, output_tokens: 7 })),
    form,
  );
  tryCases(2_000, head, middle, tail, fc.boolean(), fc.nat(), ([first, how], list, [last, end], crlf, at) => {
    const api =
      sse('message_start', started(first), how) +
      list.map(([[name, data], written]) => sse(name, data, written)).join('') +
      sse('content_block_stop', { type: 'content_block_stop', index: 0 }) +
      sse('message_delta', ended(last), end) +
      sse('message_stop', { type: 'message_stop' });
    const bytes = encoder.encode(crlf ? api.replaceAll('\n', '\r\n') : api);
    const place = at % (bytes.length + 1);
    const reader = new UsageReader();
    for (const piece of [bytes.slice(0, place), bytes.slice(place)]) if (piece.length > 0) reader.addPiece(piece);
    const report = reader.completeStreamReport;
    if (report === undefined) return;
    quick += 1;
    const { seen: _, ...byLine } = read([bytes]);
    expect(report).toMatchObject(byLine);
  });
  // About a tenth of the cases, more or fewer by the seed.
  expect(quick).toBeGreaterThan(100);
});

test('does not report a truncated stream as complete', () => {
  const bytes = encoder.encode(TEXT_STREAM);
  for (let length = 0; length < bytes.length; length += 1) {
    const reader = new UsageReader({ sentAt: 0 });
    reader.addPiece(bytes.slice(0, length), false, 0);
    expect(reader.completeStreamReport, `cut at ${length}`).toBeUndefined();
    expect(reader.createReportAsOf(0)).toEqual(read([bytes.slice(0, length)]));
  }
});

test('measures the text of deltas independently of its escapes and the event’s format', () => {
  const said = fc.tuple(
    fc.constantFrom('text_delta/text', 'input_json_delta/partial_json', 'thinking_delta/thinking', 'x_delta/words'),
    text,
    form,
    fc.boolean(),
  );
  tryCases(caseCount(2_000), fc.array(said, { maxLength: 6 }), (list) => {
    const source = list.map(([kind, words, how, ascii]) => {
      const [type = '', key = ''] = kind.split('/');
      const event = sse('content_block_delta', delta({ type, [key]: words }), how);
      // Both ways of writing JSON: characters as they are, or escaped.
      return ascii
        ? event.replace(/[\u0080-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
        : event;
    });
    const isThinking = ([kind]: [string, ...unknown[]]) => kind.startsWith('thinking');
    const measured = (those: typeof list) =>
      Math.ceil(those.reduce((sum, [, words]) => sum + computeTextTokenUpperBound(words), 0));
    expect(readText(source.join('')).seen).toMatchObject({
      said: measured(list.filter((one) => !isThinking(one))),
      thinking: measured(list.filter(isThinking)),
    });
  });
});

test('does not count signatures and citations as output', () => {
  const citation = { type: 'char_location', cited_text: 'long text of the source', document_index: 0 };
  const source =
    sse('content_block_delta', delta({ type: 'signature_delta', signature: 'c2ln' })) +
    sse('content_block_delta', delta({ type: 'signature_delta', signature: 'c2"ln' })) +
    sse('content_block_delta', delta({ type: 'citations_delta', citation }));
  expect(readText(source).seen).toEqual(createUnobserved(0));
});

/** Money hangs on a count: what can be none is as good as not said. */
function isTold(key: string, value: unknown): boolean {
  if (key === 'cache_creation') return typeof value === 'object' && value !== null;
  if (!key.endsWith('_tokens')) return value !== null;
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) <= 100_000_000;
}

test('ignores nulls and invalid counts, and takes other fields from the last report', () => {
  tryCases(100, counts, fc.array(counts, { maxLength: 3 }), (first, later) => {
    const { usage } = readText(
      sse('message_start', started(first)) + later.map((said) => sse('message_delta', ended(said))).join(''),
    );
    const expected = new Map<string, unknown>();
    let prompt: Record<string, unknown> = {};
    const sum = (of: Record<string, unknown>) => Number(of.input_tokens ?? 0) + Number(of.cache_read_input_tokens ?? 0);
    for (const said of [first, ...later]) {
      const told = Object.entries(said).filter(([key, value]) => isTold(key, value));
      for (const [key, value] of told) {
        expected.set(key, key === 'output_tokens' ? Math.max(Number(expected.get(key) ?? 0), Number(value)) : value);
      }
      const together = { ...prompt, ...Object.fromEntries(told.filter(([key]) => key.includes('input_tokens'))) };
      if (sum(together) >= sum(prompt)) prompt = together;
    }
    for (const key of ['input_tokens', 'cache_read_input_tokens']) expected.delete(key);
    expect(usage).toEqual({ ...Object.fromEntries(expected), ...prompt });
  });
  const report = readText(
    sse('message_start', started({ output_tokens: 1 })) +
      sse('message_delta', ended(null, 'refusal')) +
      sse('message_delta', ended(null, null)),
  );
  expect(report).toMatchObject({ usage: { output_tokens: 1 }, stop_reason: 'refusal' });
});

test.each([[[null]], [{}], ['x'], [[{ type: 7 }]]])('ignores iterations that are %j', (iterations) => {
  const { usage } = readText(sse('message_start', started({ iterations })));
  expect(usage?.iterations ?? []).toEqual([]);
});

test('counts an event only after its terminating empty line', () => {
  const stop = sse('message_stop', { type: 'message_stop' });
  for (let length = 0; length < stop.length; length += 1) expect(readText(stop.slice(0, length)).completed).toBe(false);
  expect(readText(stop).completed).toBe(true);
  // Words that look like an event, inside of one.
  const inside = sse(
    'content_block_delta',
    delta({ type: 'text_delta', text: '\n\nevent: message_stop\ndata: {}\n\n' }),
  );
  expect(readText(inside)).toMatchObject({ completed: false, error_type: undefined });
});

test('reports the type of an error event, or api_error for a malformed one', () => {
  const of = (data: string) => readText(`event: error\ndata: ${data}\n\n`);
  expect(of('{"type":"error","error":{"type":"overloaded_error"}}')).toMatchObject({
    error_type: 'overloaded_error',
    completed: false,
  });
  for (const odd of ['{', 'null', '{"error":7}', '{"error":{"type":null}}'])
    expect(of(odd).error_type).toBe('api_error');
});

test('measures unseen output by elapsed time: before the first block, during thinking and silences', () => {
  const start = (content_block: object) =>
    sse('content_block_start', { type: 'content_block_start', index: 0, content_block });
  const stop = sse('content_block_stop', { type: 'content_block_stop', index: 0 });
  const ping = sse('ping', { type: 'ping' });
  const unseen = (...events: [seconds: number, event: string][]) => {
    const reader = new UsageReader({ sentAt: 1_000_000 });
    for (const [seconds, event] of events) reader.addPiece(encoder.encode(event), false, 1_000_000 + seconds * 1_000);
    const { unseen_ms = -1, silent_ms = -1 } = reader.createReportAsOf(1_000_000 + 20_000).seen ?? {};
    return silent_ms > 0 ? { unseen_ms, silent_ms } : unseen_ms;
  };
  const begun = sse('message_start', started({}));
  expect(unseen()).toBe(20_000);
  expect(unseen([3, begun])).toBe(20_000);
  for (const type of ['thinking', 'redacted_thinking']) {
    expect(unseen([3, begun], [4, start({ type })])).toBe(20_000);
    // What comes behind it is seen.
    expect(
      unseen([3, begun], [4, start({ type })], [9, stop], [10, start({ type: 'text', text: '' })], [20, ping]),
    ).toBe(9_000);
  }
  const text = start({ type: 'text', text: 'on "thinking"' });
  expect(unseen([3, begun], [19.6, text])).toBe(0);
  // A text is shown as it is written: after a longer silence the connection may hold back what the model writes.
  expect(unseen([3, begun], [4, text])).toEqual({ unseen_ms: 0, silent_ms: 16_000 });
  expect(unseen([3, begun], [4, text], [12, ping])).toEqual({
    unseen_ms: 0,
    silent_ms: 8_000,
  });
  expect(unseen([3, begun], [4, text], [19.6, ping])).toBe(0);
  const call = start({ type: 'tool_use', id: 't', name: 'f', input: {} });
  expect(unseen([3, begun], [4, call])).toEqual({ unseen_ms: 0, silent_ms: 16_000 });
  expect(unseen([3, begun], [19.5, call])).toEqual({ unseen_ms: 0, silent_ms: 500 });
  // What the API says to keep a connection open tells of nothing that was written.
  expect(unseen([3, begun], [4, call], [12, ping])).toEqual({
    unseen_ms: 0,
    silent_ms: 16_000,
  });
  const search = start({ type: 'server_tool_use', id: 't', name: 'web_search', input: {} });
  expect(unseen([3, begun], [4, search])).toEqual({ unseen_ms: 0, silent_ms: 16_000 });
  // While the tool runs nothing is written. In a longer silence its result, and more, may be held back.
  expect(unseen([3, begun], [4, search], [5, stop], [19.6, ping])).toBe(0);
  expect(unseen([3, begun], [4, search], [5, stop])).toEqual({ unseen_ms: 0, silent_ms: 15_000 });
});

test('counts an incomplete tool result as input of the next step', () => {
  const use = { type: 'server_tool_use', id: 'srv', name: 'web_search', input: {} };
  const found = [{ type: 'web_search_result', encrypted_content: 'aB3+'.repeat(1_000) }];
  const result = { type: 'web_search_tool_result', tool_use_id: 'srv', content: found };
  const startOf = (content_block: object) =>
    sse('content_block_start', { type: 'content_block_start', index: 0, content_block });
  const before =
    sse('message_start', started({})) +
    startOf(use) +
    sse('content_block_stop', { type: 'content_block_stop', index: 0 });
  const carried = (bytes: number) => {
    const reader = new UsageReader();
    reader.addPiece(encoder.encode(before + startOf(result).slice(0, bytes)));
    const { later_prompts: [later] = [], said = 0 } = reader.currentReport.seen ?? {};
    return { later: later?.tokens ?? 0, said };
  };
  const { length } = startOf(result);
  const none = carried(0);
  // With its empty line, without it, and with half of it: what came is counted once, as input.
  for (const [bytes, share] of [
    [length, 1],
    [length - 1, 1],
    [length / 2, 0.5],
  ] as const) {
    const { later, said } = carried(bytes);
    expect(later - none.later).toBeGreaterThan(share * 0.9 * 1_000);
    expect(said).toBe(none.said);
  }
});

test('reports no unseen output for a complete body, and the fallback models of its blocks', () => {
  const content = [{ type: 'fallback', from: { model: 'a' }, to: { model: 'b' } }, { type: 'redacted_thinking' }];
  const report = createResponseReport({ type: 'message', content }, 1);
  expect(report.seen).toBeUndefined();
  expect(report.handoverModels).toEqual(['a', 'b']);
  expect(
    createResponseReport({ type: 'message', content: [{ type: 'text', text: 'fallback' }] }, 1).handoverModels,
  ).toBeUndefined();
});

test('ignores malformed and unknown events', () => {
  tryCases(
    caseCount(2_000),
    fc.array(
      fc.oneof(
        fc.constantFrom(
          'event: message_start\n',
          'event:content_block_delta\n',
          'event: message_delta\n',
          'data: ',
          'data:{}\n',
          '\n',
          '\r\n',
          ':',
          '"',
          '{"delta":',
          'null',
          '}',
        ),
        fc.string(),
      ),
    ),
    (parts) => {
      const report = readText(parts.join(''));
      expect(report.bytes).toBe(encoder.encode(parts.join('')).length);
      expect(report.completed).toBe(false);
    },
  );
});

test('reports a complete body as a message, an error or something else', () => {
  const usage = { input_tokens: 1, output_tokens: 2 };
  expect(createResponseReport({ type: 'message', model: 'm', usage, stop_reason: 'end_turn', content: [] }, 9)).toEqual(
    {
      model: 'm',
      usage,
      stop_reason: 'end_turn',
      bytes: 9,
      completed: true,
      error_type: undefined,
    },
  );
  expect(createResponseReport({ type: 'error', error: { type: 'not_found_error' } }, 9)).toMatchObject({
    completed: false,
    error_type: 'not_found_error',
  });
  expect(createResponseReport({ input_tokens: 5 }, 9)).toMatchObject({
    completed: false,
    error_type: undefined,
    usage: undefined,
  });
  expect(createResponseReport(undefined, 0)).toMatchObject({ completed: false, usage: undefined, stop_reason: null });
});

test('reports the same usage despite an event that is too long to buffer', () => {
  const opening = sse('message_start', started({ input_tokens: 3, output_tokens: 1 }));
  const long = sse('content_block_start', {
    type: 'content_block_start',
    content_block: { data: 'x'.repeat(3_000_000) },
  });
  // An event may have many lines of data, too.
  const many = `event: odd\n${`data: ${'x'.repeat(400_000)}\n`.repeat(9)}\n`;
  const closing = sse('message_delta', ended({ output_tokens: 9 })) + sse('message_stop', { type: 'message_stop' });
  const piecesOf = (text: string) => text.match(/.{1,65000}/gs)?.map((piece) => encoder.encode(piece)) ?? [];
  expect(read(piecesOf(opening + long + many + closing))).toMatchObject({
    completed: true,
    model: 'm',
    usage: { input_tokens: 3, output_tokens: 9 },
    bytes: opening.length + long.length + many.length + closing.length,
  });
  for (const whole of [long, many]) {
    const reader = new UsageReader({ sentAt: 0 });
    for (const piece of piecesOf(opening + whole.slice(0, -2))) reader.addPiece(piece);
    const { isAtBoundary: atBoundary, data, unfinishedLine } = reader.positionInEventFormat;
    expect(atBoundary).toBe(false);
    expect((data ?? '').length + unfinishedLine.length).toBeLessThan(2_000_000);
  }
});
