import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { MessageBuilder } from '#edge/conversations/turn/message-builder.ts';
import { createMessageEventStream } from '#edge/conversations/turn/message-events.ts';
import { BlockVisibilityTracker } from '#edge/conversations/views/log-blocks.ts';
import { redactAnswer, streamRedactedEvents } from '#edge/conversations/views/redact-answer.ts';
import { redactBlock, redactBlocks } from '#edge/conversations/views/redact-for.ts';
import { encoder } from '#edge/kit/http/bytes.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { SseEventReader } from '#edge/kit/sse/frames.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';

const SECRET = 'told-to-nobody';
const HIDES = { shouldHideTools: true, textOnly: false };

/** Blocks as the API and the edge show them, each with the form that is left of it. */
const HIDDEN: [JsonObject, JsonObject][] = [
  [
    { type: 'server_tool_use', id: 'a', name: 'web_search', input: { query: SECRET } },
    { type: 'server_tool_use', id: 'a', name: 'web_search', input: {} },
  ],
  [
    {
      type: 'web_search_tool_result',
      tool_use_id: 'a',
      content: [{ type: 'web_search_result', url: SECRET, title: SECRET, encrypted_content: SECRET, page_age: null }],
    },
    { type: 'web_search_tool_result', tool_use_id: 'a', content: [] },
  ],
  [
    {
      type: 'web_search_tool_result',
      tool_use_id: 'a',
      content: { type: 'web_search_tool_result_error', error_code: 'unavailable' },
    },
    {
      type: 'web_search_tool_result',
      tool_use_id: 'a',
      content: { type: 'web_search_tool_result_error', error_code: 'unavailable' },
    },
  ],
  [
    {
      type: 'web_fetch_tool_result',
      tool_use_id: 'a',
      content: {
        type: 'web_fetch_result',
        url: SECRET,
        retrieved_at: null,
        content: {
          type: 'document',
          source: { type: 'text', media_type: 'text/plain', data: SECRET },
          title: SECRET,
          citations: { enabled: true },
        },
      },
    },
    {
      type: 'web_fetch_tool_result',
      tool_use_id: 'a',
      content: {
        type: 'web_fetch_result',
        url: '',
        retrieved_at: null,
        content: {
          type: 'document',
          source: { type: 'text', media_type: 'text/plain', data: '' },
          title: '',
          citations: { enabled: false },
        },
      },
    },
  ],
  [
    {
      type: 'bash_code_execution_tool_result',
      tool_use_id: 'a',
      content: {
        type: 'bash_code_execution_result',
        stdout: SECRET,
        stderr: SECRET,
        return_code: 7,
        content: [{ type: 'bash_code_execution_output', file_id: SECRET }],
      },
    },
    {
      type: 'bash_code_execution_tool_result',
      tool_use_id: 'a',
      content: { type: 'bash_code_execution_result', stdout: '', stderr: '', return_code: 1, content: [] },
    },
  ],
  [
    {
      type: 'mcp_tool_use',
      id: 'a',
      name: 'get_weather',
      server_name: 'edge',
      input: { city: SECRET, deep: { id: 1 } },
    },
    { type: 'mcp_tool_use', id: 'a', name: 'get_weather', server_name: 'edge', input: {} },
  ],
  [
    { type: 'mcp_tool_result', tool_use_id: 'a', is_error: true, content: [{ type: 'text', text: SECRET }] },
    { type: 'mcp_tool_result', tool_use_id: 'a', is_error: true, content: [] },
  ],
  [
    { type: 'mcp_tool_result', tool_use_id: 'a', is_error: false, content: SECRET },
    { type: 'mcp_tool_result', tool_use_id: 'a', is_error: false, content: [] },
  ],
  [
    { type: 'compaction', content: SECRET },
    { type: 'compaction', content: '' },
  ],
  // What nobody knows yet says nothing either.
  [
    { type: 'new_tool_result', tool_use_id: 'a', output: { name: SECRET, id: SECRET, lines: 9 }, more: SECRET },
    { type: 'new_tool_result' },
  ],
  [
    { type: 'text', text: 'It rains.', citations: [{ type: 'web_search_result_location', cited_text: SECRET }] },
    { type: 'text', text: 'It rains.', citations: [] },
  ],
];
/** What stays as it is. */
const SHOWN: JsonObject[] = [
  { type: 'text', text: 'Hello — 你好' },
  { type: 'thinking', thinking: 'Hm.', signature: 'c2ln' },
  { type: 'redacted_thinking', data: 'c2ln' },
  { type: 'tool_use', id: 'p', name: 'pick', input: { city: 'Bern', id: 7 } },
  { type: 'fallback', from: { model: 'a' }, to: { model: 'b' } },
];

test.each(HIDDEN)('redactBlock keeps only the form of a hidden block: %j', (block, shown) => {
  expect(redactBlock(block)).toEqual(shown);
  // What was hidden stays as it is.
  expect(redactBlock(shown)).toEqual(shown);
});

test.each(SHOWN)("redactBlock keeps text, thinking and the page's own calls unchanged: %j", (block) => {
  expect(redactBlock(block)).toEqual(block);
});

/** The events of a message as a log shows them, each behind its id. */
function logOf(content: readonly JsonObject[]): string[] {
  const message = { id: 'msg_1', type: 'message', role: 'assistant', model: 'm', content, stop_reason: 'end_turn' };
  const events = createMessageEventStream(message).split(/(?<=\n\n)/);
  const cited = content.flatMap((block, index) =>
    block.type === 'text' && block.citations
      ? [
          `event: content_block_delta\ndata: ${JSON.stringify({ type: 'content_block_delta', index, delta: { type: 'citations_delta', citation: { cited_text: SECRET } } })}\n\n`,
        ]
      : [],
  );
  const end = events.findLastIndex((event) => event.startsWith('event: message_delta'));
  const all = [...events.slice(0, end), ...cited, ...events.slice(end)];
  const remark = (event: string) => (event.startsWith('event: message_') ? ': sluice-cost-usd=0.1\n\n' : '');
  return all.map((event, at) => `id: turn_1-${at + 1}\n${event}${remark(event)}`);
}

/** @returns a log of a turn whose bytes come in pieces that end at these places. */
function logFollowed(events: readonly string[], cuts: readonly number[]) {
  return {
    blocks: new BlockVisibilityTracker(events.join('')),
    follow(after: number) {
      const bytes = encoder.encode(`${events.slice(after).join('')}\0{"summary":1}`);
      const ends = [...new Set([...cuts.map((cut) => cut % bytes.length), bytes.length])].sort((a, b) => a - b);
      return new ReadableStream<Uint8Array>({
        start(controller) {
          let from = 0;
          for (const end of ends) {
            if (end > from) controller.enqueue(bytes.slice(from, end));
            from = end;
          }
          controller.close();
        },
      });
    },
  };
}

/** @returns the message as a client builds it of events. */
function built(text: string): JsonObject[] {
  const builder = new MessageBuilder();
  for (const { data } of new SseEventReader().readCompletedEvents(encoder.encode(text)))
    builder.addEventData(JSON.parse(data) as JsonObject);
  expect(builder.blocks.every(({ isOpen: open, isBroken: broken }) => !open && !broken)).toBe(true);
  expect(builder.hasStopped).toBe(true);
  return builder.blocks.map(({ value }) => value);
}

const blocks = fc.array(fc.constantFrom(...HIDDEN.map(([block]) => block), ...SHOWN), { maxLength: 8 });

test('a redacted stream builds the redacted message, wherever the stream is split or resumed', async () => {
  await tryAsyncCases(caseCount(200), blocks, fc.array(fc.nat()), fc.nat(), async (content, cuts, seed) => {
    const events = logOf(content);
    const log = logFollowed(events, cuts);
    const whole = await new Response(streamRedactedEvents(log, 0, HIDES)).text();
    expect(whole).not.toContain(SECRET);
    expect(whole.endsWith('\0{"summary":1}')).toBe(true);
    expect(built(whole)).toEqual(content.map(redactBlock));
    const after = seed % events.length;
    const rest = await new Response(streamRedactedEvents(log, after, HIDES)).text();
    const next = Array.from({ length: events.length - after }, (_, at) => `id: turn_1-${after + at + 1}\n`);
    const from = Math.min(...next.map((id) => whole.indexOf(id)).filter((at) => at >= 0), whole.indexOf('\0'));
    expect(rest).toBe(whole.slice(from));
    expect(
      await new Response(streamRedactedEvents(log, after, { shouldHideTools: false, textOnly: false })).text(),
    ).toContain(events.slice(after).join(''));
    const opening = events.slice(0, after).join('');
    const answer = redactAnswer(
      {
        kind: 'stream',
        turn: 'turn_1',
        headers: {},
        first: opening,
        body: log.follow(after),
      } as const,
      true,
    );
    const { first, body } = answer as unknown as { first: string; body: ReadableStream };
    expect(first + (await new Response(body).text())).toBe(whole);
  });
});

/** Strings, numbers and keys that nobody may read. */
const LONG = SECRET.repeat(30);
const NUMBER = 7_654_321;
const known = [...new Set(HIDDEN.flatMap(([block, shown]) => [...namesIn(block), ...namesIn(shown)]))];
const TYPES = [...new Set([...HIDDEN.flatMap(([block]) => typesIn(block)), 'of_tomorrow', 'constructor', 'direct'])];

function namesIn(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, one]) => [...(Array.isArray(value) ? [] : [name]), ...namesIn(one)]);
}

function typesIn(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  const own = 'type' in value && typeof value.type === 'string' ? [value.type] : [];
  return [...own, ...Object.values(value).flatMap(typesIn)];
}

/** Anything that a tool, an upstream or whoever stands between may put into a block. */
const { anything } = fc.letrec<{ anything: unknown }>((tie) => ({
  anything: fc.oneof(
    { maxDepth: 4, depthSize: 'small' },
    fc.constantFrom<unknown>(LONG, NUMBER, null, true, [SECRET], { type: SECRET }, [{ type: 'text', text: SECRET }]),
    fc.array(tie('anything'), { maxLength: 2 }),
    fc
      .tuple(
        fc.dictionary(fc.constantFrom(...known, SECRET), tie('anything'), { maxKeys: 6 }),
        fc.constantFrom<unknown>(...TYPES, SECRET, ['text'], NUMBER),
        fc.constantFrom<unknown>('unavailable', SECRET, ['unavailable'], [SECRET], undefined),
      )
      .map(([members, type, error_code]) => ({
        ...members,
        type,
        ...(error_code === undefined ? {} : { error_code }),
      })),
  ),
}));
const odd = fc
  .tuple(
    fc.dictionary(fc.constantFrom(...known, SECRET, 'caller'), anything, { minKeys: 2 }),
    fc.constantFrom<unknown>(...TYPES.filter((type) => type !== 'text'), ['text'], { type: 'text' }, null),
  )
  .map(([members, type]): JsonObject => ({ ...members, type }));

test('a hidden block with any fields shows only its type, names and form, in streams and in whole responses', async () => {
  const isClean = (text: string) => expect(text).not.toMatch(`${SECRET}|${NUMBER}`);
  await tryAsyncCases(
    caseCount(500),
    fc.array(odd, { minLength: 1, maxLength: 4 }),
    fc.nat(),
    async (content, seed) => {
      const shown = content.map(redactBlock);
      isClean(JSON.stringify(shown));
      expect(shown.map(redactBlock)).toEqual(shown);
      // No member has come that no form has.
      for (const name of namesIn(shown))
        expect([...known, 'stop_reason', 'is_file_update', 'tool_references']).toContain(name);
      expect(shown.map(({ type }) => type)).toEqual(content.map(({ type }) => (typeof type === 'string' ? type : '')));
      const events = content.map(
        (block, index) =>
          `id: turn_1-${index + 1}\nevent: content_block_start\ndata: ${JSON.stringify({
            type: 'content_block_start',
            index,
            content_block: block,
            more: SECRET,
            [SECRET]: NUMBER,
          })}\n\n`,
      );
      const log = logFollowed(events, [seed]);
      for (const after of [0, seed % events.length]) {
        const text = (await new Response(streamRedactedEvents(log, after, HIDES)).text()).split('\0')[0] ?? '';
        isClean(text);
        const told = [...text.matchAll(/^data: (.*)$/gm)].map(([, data = '']) => JSON.parse(data) as JsonObject);
        const expected = shown.slice(after).map((block, at) => ({ index: after + at, content_block: block }));
        expect(told).toEqual(expected.map((one) => ({ type: 'content_block_start', ...one })));
      }
      const whole = {
        kind: 'response',
        turn: 'turn_1',
        headers: {},
        status: 200,
        body: JSON.stringify({ content }),
      } as const;
      const { body } = redactAnswer(whole, true) as { body: string };
      expect(JSON.parse(body)).toEqual({ content: shown });
    },
  );
});

test('a non-streaming response is redacted like its stream, and an error loses its message', () => {
  const content = [...HIDDEN.map(([block]) => block), ...SHOWN];
  const common = { kind: 'response', turn: 'turn_1', headers: {} } as const;
  const answer = redactAnswer(
    { ...common, status: 200, body: JSON.stringify({ id: 'msg_1', content, usage: {} }) },
    true,
  );
  expect(JSON.parse(String((answer as { body?: string }).body))).toEqual({
    id: 'msg_1',
    usage: {},
    content: content.map(redactBlock),
  });
  const error = { type: 'invalid_request_error', message: 'You sent this: …', quoted: '…' };
  const refused = redactAnswer(
    { ...common, status: 400, body: JSON.stringify({ type: 'error', error, more: '…' }) },
    true,
  );
  expect(JSON.parse(String((refused as { body?: string }).body))).toEqual({
    type: 'error',
    error: { type: 'invalid_request_error', message: expect.stringMatching(/Ask again\.$/) as string },
  });
});

/** Blocks with what a reader of text sees of each; undefined for nothing. */
const AS_TEXT: [JsonObject, JsonObject | undefined][] = [
  ...HIDDEN.filter(([{ type }]) => type !== 'text').map(([block]): [JsonObject, undefined] => [block, undefined]),
  ...SHOWN.map((block): [JsonObject, JsonObject | undefined] => [block, block.type === 'fallback' ? undefined : block]),
  [
    { type: 'text', text: 'It rains.', citations: null },
    { type: 'text', text: 'It rains.' },
  ],
  [
    {
      type: 'text',
      text: 'It snows.',
      citations: [{ type: 'page_location', cited_text: 'snow' }, { type: 'search_result_location' }, { type: 'new' }],
    },
    { type: 'text', text: 'It snows.', citations: [{ type: 'page_location', cited_text: 'snow' }] },
  ],
];

test('a stream shown as text has only blocks that every client supports, numbered without gaps, wherever it is resumed', async () => {
  const seen = { shouldHideTools: false, textOnly: true };
  const some = fc.array(fc.constantFrom(...AS_TEXT), { maxLength: 8 });
  await tryAsyncCases(caseCount(200), some, fc.array(fc.nat()), fc.nat(), async (chosen, cuts, seed) => {
    const content = chosen.map(([block]) => block);
    const shown = chosen.flatMap(([, block]): JsonObject[] => (block ? [block] : []));
    const events = logOf(content);
    const log = logFollowed(events, cuts);
    const whole = await new Response(streamRedactedEvents(log, 0, seen)).text();
    const plain = ({ citations: _, ...block }: JsonObject) => block;
    expect(built(whole).map(plain)).toEqual(shown.map(plain));
    expect(redactBlocks(content, seen)).toEqual(shown);
    const numbers = [...whole.matchAll(/"content_block_start","index":(\d+)/g)].map(([, number]) => Number(number));
    expect(numbers).toEqual(shown.map((_, at) => at));
    // What is left out leaves the other events as they were.
    expect(whole.match(/sluice-cost-usd/g)).toHaveLength(3);
    const after = seed % events.length;
    const rest = await new Response(streamRedactedEvents(log, after, seen)).text();
    const next = Array.from({ length: events.length - after }, (_, at) => `id: turn_1-${after + at + 1}\n`);
    const from = Math.min(...next.map((id) => whole.indexOf(id)).filter((at) => at >= 0), whole.indexOf('\0'));
    expect(rest).toBe(whole.slice(from));
    const both = await new Response(streamRedactedEvents(log, 0, { shouldHideTools: true, textOnly: true })).text();
    expect(built(both).map(plain)).toEqual(shown.map(plain));
    expect(both).not.toContain(SECRET);
  });
});

test("a log whose blocks cannot be read is not followed, so that it takes no follower's place", () => {
  const follow = vi.fn<() => ReadableStream<Uint8Array>>();
  const damaged = {
    follow,
    get blocks(): BlockVisibilityTracker {
      throw new Error('damaged');
    },
  };
  expect(() => streamRedactedEvents(damaged, 0, HIDES)).toThrow('damaged');
  expect(follow).not.toHaveBeenCalled();
});

test('a hidden block with the index of a shown block stays hidden, also when shown as text', async () => {
  const events = [
    { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
    { type: 'content_block_start', index: 0, content_block: { type: 'mcp_tool_use', input: {} } },
    { type: 'content_block_delta', index: 0, delta: { type: 'input_json_delta', partial_json: SECRET } },
    { type: 'content_block_delta', delta: { type: 'input_json_delta', partial_json: SECRET }, index: 0 },
  ].map((data, at) => `id: turn_1-${at + 1}\nevent: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`);
  for (const textOnly of [false, true]) {
    const body = streamRedactedEvents(logFollowed(events, []), 0, { shouldHideTools: true, textOnly });
    expect(await new Response(body).text()).not.toContain(SECRET);
  }
});
