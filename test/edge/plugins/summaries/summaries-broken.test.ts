import { expect, test } from 'vitest';
import { computeCost } from '#edge/claude/pricing/cost.ts';
import { parseSettings } from '#edge/config/settings.ts';
import {
  createConversationWith,
  createErrorResponse,
  createStream,
  installSimulatorUnless,
  isSummaryRequest,
  readBooked,
  readSummaries,
  readSummaryRows,
  sendManyTurns,
  type UpstreamBody,
} from '#test/support/summaries.ts';
import { contentBlock, messageEnd, messageStart, messageWith, splitEvents } from '#test/support/wire.ts';

const USAGE = { input_tokens: 1_800, output_tokens: 300 };
const model = parseSettings({}, true).models.findRow('claude-opus-5-5');
if (!model) throw new Error('no such model');
const BILL = computeCost(USAGE, model, { cacheTtl: '5m' }) / 1e9;

const START = messageStart({ id: 'msg_s', usage: { input_tokens: USAGE.input_tokens, output_tokens: 1 } });
const blockOf = (content_block: object, index = 0) => splitEvents(contentBlock(content_block, [], index));
const endOf = (stop_reason: string) => splitEvents(messageEnd(USAGE, stop_reason));
const text = (said: string) => ({ type: 'text', text: said });
const whole = (blocks: readonly object[], reason = 'end_turn') => [
  START,
  ...blocks.flatMap((block, at) => blockOf(block, at)),
  ...endOf(reason),
];
const WHOLE = whole([text('Boxes have come.')]);
const json = () => Response.json(messageWith({ id: 'msg_s', content: [], usage: USAGE }));

type Made = (signal: AbortSignal | null | undefined) => Response;

/** Each end of a summary, and what the API bills for it; USD. */
const ENDS: Record<string, { made: Made; bill?: number; isCut?: boolean }> = {
  ...Object.fromEntries(
    [400, 401, 403, 404, 413, 429, 500, 529].flatMap((status) => [
      [`${status} in the API’s form`, { made: () => createErrorResponse(status) }],
      [`${status} without JSON`, { made: () => new Response('<p>No</p>', { status }) }],
    ]),
  ),
  'no answer': {
    made: () => {
      throw new Error('connection refused');
    },
  },
  '200 with JSON in place of a stream': { made: json, bill: BILL },
  '200 with a page': { made: () => new Response('<p>Hello</p>', { headers: { 'content-type': 'text/html' } }) },
  'an empty stream': { made: () => createStream([], 'whole') },
  silence: { made: (signal) => createStream(WHOLE.slice(0, 2), 'silent', signal), bill: BILL, isCut: true },
  ...Object.fromEntries(
    WHOLE.slice(0, -1).map((_, at) => [
      `cut after event ${at + 1}`,
      { made: () => createStream(WHOLE.slice(0, at + 1), 'cut'), bill: BILL, isCut: true },
    ]),
  ),
  'an empty text': { made: () => createStream(whole([text('')]), 'whole'), bill: BILL },
  'a text of 3 MB': { made: () => createStream(whole([text('x'.repeat(3_000_000))]), 'whole'), bill: BILL },
  'no text': { made: () => createStream(whole([]), 'whole'), bill: BILL },
  'a refusal': { made: () => createStream(whole([], 'refusal'), 'whole'), bill: BILL },
  'a call of a tool in place of a text': {
    made: () => createStream(whole([{ type: 'tool_use', id: 'toolu_1', name: 'f', input: {} }], 'tool_use'), 'whole'),
    bill: BILL,
  },
  'a text that is refused': {
    made: () => createStream(whole([text('No.')], 'refusal'), 'whole'),
    bill: BILL,
  },
};

test.each(Object.keys(ENDS))(
  'charges the billed cost of a summary that ends with %s, and continues without the summary',
  async (name) => {
    const { made, bill = 0, isCut = false } = ENDS[name] ?? { made: () => createErrorResponse(500) };
    let asked = 0;
    const { sent } = installSimulatorUnless(
      (body: UpstreamBody, { signal }) => {
        if (!isSummaryRequest(body)) return undefined;
        asked += 1;
        return made(signal);
      },
      { vars: { STREAM_IDLE_MS: '60', UPSTREAM_TIMEOUT_MS: '2000' } },
    );
    await createConversationWith();
    const told = await sendManyTurns(11);
    expect(told.at(-1)).toBe('truncated');
    const { summaries, rows } = await readBooked();
    expect(asked).toBeGreaterThan(0);
    expect(rows).toBeGreaterThanOrEqual(asked);
    // What ended by itself is booked at its bill. Of what was cut the usage may not have come.
    if (isCut) expect(summaries).toBeGreaterThanOrEqual((bill * asked) / 3);
    else if (bill > 0) expect(summaries).toBeCloseTo(bill * asked, 9);
    else if (name.startsWith('4')) expect(summaries).toBe(0);
    expect(await readSummaries()).toEqual([]);
    // After each failure the next waits for twice as many answers.
    expect((await readSummaryRows()).length).toBeLessThanOrEqual(4);
    expect(sent.filter((body) => !isSummaryRequest(body))).toHaveLength(11);
  },
);

test('joins the two text blocks of a summary', async () => {
  const pieces = whole([text('The first.'), text(' Second.')]);
  const { sent } = installSimulatorUnless((body) =>
    isSummaryRequest(body) ? createStream(pieces, 'whole') : undefined,
  );
  await createConversationWith();
  expect(new Set(await sendManyTurns(11))).toEqual(new Set([undefined]));
  const { summaries, rows } = await readBooked();
  expect(summaries).toBeCloseTo(BILL * (await readSummaries()).length, 9);
  expect(rows).toBeGreaterThan(0);
  expect(JSON.stringify(sent.at(-1)?.messages[0])).toContain('The first. Second.');
});
