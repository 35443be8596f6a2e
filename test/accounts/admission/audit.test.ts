import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { interruptedCost } from '../../../src/accounts/admission/interrupted-cost.ts';
import { MessageBuilder } from '../../../src/conversations/turn/message-builder.ts';
import { STORE_MS } from '../../../src/conversations/turn/publisher.ts';
import { unseenAtCrash } from '../../../src/conversations/turn/restore-turn.ts';
import { utf8 } from '../../../src/http/bytes.ts';
import { ModelTable } from '../../../src/pricing/models.ts';
import { worstCaseOf } from '../../../src/pricing/worst-case.ts';
import { UsageReader } from '../../../src/upstream/usage/usage-reader.ts';
import { nothingSeen, type Report, type Seen } from '../../../src/upstream/usage/usage-report.ts';

/**
 * An audit without a runtime: an API that writes its own bill, and connections that end in every way. What the edge books is
 * compared with what the API bills: everything that it did until a quarter of a second after its connection was closed.
 */

const MODEL = 'claude-opus-5-5';
// Nanodollars a token.
const [INPUT, OUTPUT] = [4_000, 20_000];
const SEARCH = 10_000_000;
/** Milliseconds until the API notices that its connection was closed. */
const NOTICE_MS = 250;
const CASES = 150;
const CLASSES = ['text', 'thinking', 'tools', 'search', 'fetch', 'code', 'mcp'] as const;
const ENDS = ['stopped', 'left', 'cut', 'stalled', 'silent', 'killed'] as const;
type Class = (typeof CLASSES)[number];
type End = (typeof ENDS)[number];

/** Tokens a second that models write. */
const SPEEDS = [30, 80, 150, 300];
/** Hidden thinking is booked by the clock, and steps that run code by the time that 20 tokens take. */
const MOST: Record<Class, number> = { text: 2, thinking: 4, tools: 2, search: 2.5, fetch: 2.5, code: 6, mcp: 2.5 };

/** What the API does at a time: it sends an event, reads a prompt, searches, or has written tokens up to then. */
interface Deed {
  at: number;
  event?: string;
  prompt?: number;
  searches?: number;
  /** Tokens that it writes, evenly, in the time from the deed before. */
  written?: number;
}

/** A generator of numbers with a seed, so that a case can be repeated. */
function random(seed: number): (least: number, most: number) => number {
  let state = seed | 0;
  return (least, most) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return least + (((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296) * (most - least);
  };
}

const eventOf = (type: string, data: object) => `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`;
const PROSE = 'the gate of a sluice rises, and the water that waited behind it runs on to the mill below; ';
/** About three and a half characters are a token of prose. */
const proseOf = (tokens: number) => PROSE.repeat(Math.ceil((tokens * 3.5) / PROSE.length)).slice(0, tokens * 3.5);

const TOOLS: Record<Class, object> = {
  text: {},
  thinking: { thinking: { type: 'enabled', budget_tokens: 16_000 } },
  tools: { tools: [{ name: 'f', description: 'Does it.', input_schema: { type: 'object' } }] },
  search: { tools: [{ type: 'web_search_20260209', name: 'web_search', max_uses: 8 }] },
  fetch: { tools: [{ type: 'web_fetch_20260209', name: 'web_fetch', max_uses: 8 }] },
  code: { tools: [{ type: 'code_execution_20260521', name: 'code_execution' }] },
  mcp: {
    mcp_servers: [{ type: 'url', url: 'https://example.com/mcp', name: 'm' }],
    tools: [{ type: 'mcp_toolset', mcp_server_name: 'm' }],
  },
};
/**
 * The names of a served tool's blocks, and the most tokens of a result. (The result of a use that runs is taken to have 8,000
 * tokens at most: a longer one that comes in the last quarter of a second costs more than is booked.)
 */
const SERVED: Partial<Record<Class, { use: string; name: string; result: string; most: number }>> = {
  search: { use: 'server_tool_use', name: 'web_search', result: 'web_search_tool_result', most: 8_000 },
  fetch: { use: 'server_tool_use', name: 'web_fetch', result: 'web_fetch_tool_result', most: 8_000 },
  code: { use: 'server_tool_use', name: 'code_execution', result: 'code_execution_tool_result', most: 1_000 },
  mcp: { use: 'mcp_tool_use', name: 'ask', result: 'mcp_tool_result', most: 4_000 },
};

interface Answer {
  body: object;
  prompt: number;
  deeds: Deed[];
}

/** Makes an answer of a class, as the API gives it: its events with their times, and its bill. */
function answerOf(kind: Class, tokensPerSecond: number, draw: ReturnType<typeof random>): Answer {
  const speed = (tokensPerSecond * draw(0.8, 1.2)) / 1_000;
  const prompt = Math.floor(draw(200, 6_000));
  const content = proseOf(prompt - 50);
  const body = {
    model: MODEL,
    max_tokens: 32_000,
    stream: true,
    messages: [{ role: 'user', content }],
    ...TOOLS[kind],
  };
  const usage = { input_tokens: prompt, output_tokens: 1 };
  const deeds: Deed[] = [{ at: 0, prompt }];
  let at = draw(300, 1_500);
  let index = 0;
  let written = 0;
  let added = 0;
  const say = (event: string) => deeds.push({ at, event });
  const write = (tokens: number, event?: string) => {
    at += tokens / speed;
    written += tokens;
    deeds.push({ at, written: tokens, ...(event === undefined ? {} : { event }) });
  };
  const block = (content_block: object, parts: () => void) => {
    say(eventOf('content_block_start', { index, content_block }));
    parts();
    say(eventOf('content_block_stop', { index }));
    index += 1;
  };
  const delta = (data: object) => eventOf('content_block_delta', { index, delta: data });
  const text = (tokens: number) =>
    block({ type: 'text', text: '' }, () => {
      for (let left = tokens; left > 0; ) {
        const piece = Math.min(left, Math.ceil(draw(1, 12)));
        write(piece, delta({ type: 'text_delta', text: proseOf(piece) }));
        left -= piece;
      }
    });
  const call = (type: string, name: string) =>
    block({ type, id: `t${index}`, name, input: {} }, () =>
      write(
        Math.ceil(draw(25, 60)),
        delta({ type: 'input_json_delta', partial_json: '{"query":"how a sluice works"}' }),
      ),
    );
  say(eventOf('message_start', { message: { id: 'm', type: 'message', model: MODEL, usage, content: [] } }));
  if (kind === 'thinking') {
    const isShown = draw(0, 1) > 0.5;
    block({ type: 'thinking', thinking: '', signature: '' }, () => {
      for (let left = draw(50, 3_000); left > 0; left -= 10) {
        write(10, isShown ? delta({ type: 'thinking_delta', thinking: proseOf(5) }) : undefined);
      }
      say(delta({ type: 'signature_delta', signature: 'c2ln' }));
    });
  }
  const served = SERVED[kind];
  if (served) {
    const uses = Math.ceil(draw(0, 8));
    for (let use = 0; use < uses; use += 1) {
      if (draw(0, 1) > 0.6) text(draw(10, 60));
      call(served.use, served.name);
      if (kind === 'search') deeds.push({ at, searches: 1 });
      const ends = at + draw(300, kind === 'code' ? 8_000 : 2_500);
      // The API sends pings while a tool runs.
      for (let ping = at + 1_000; ping < ends; ping += 1_000) deeds.push({ at: ping, event: eventOf('ping', {}) });
      at = ends;
      const tokens = Math.floor(draw(served.most / 10, served.most));
      added += tokens;
      const result = [{ type: 'text', text: proseOf(tokens) }];
      block({ type: served.result, tool_use_id: `t${index - 1}`, content: result }, () => undefined);
      deeds.push({ at, prompt: prompt + added + written });
    }
  }
  text(draw(40, 2_500));
  if (kind === 'tools') call('tool_use', 'f');
  at += draw(0, 60);
  return { body, prompt, deeds };
}

/** @returns what the API bills for what it has done until then; nanodollars. */
function billOf(deeds: readonly Deed[], until: number): number {
  let bill = 0;
  let before = 0;
  for (const { at, prompt = 0, searches = 0, written = 0 } of deeds) {
    if (at <= until) bill += prompt * INPUT + searches * SEARCH + written * OUTPUT;
    else if (before < until) bill += ((until - before) / (at - before)) * written * OUTPUT;
    before = at;
  }
  return bill;
}

interface Heard {
  /** When the connection to the API was closed; milliseconds since it was sent. */
  closedAt: number;
  report: Pick<Report, 'usage'> & { seen: Seen };
}

/** Reads what came of an answer, as a relay does (late, in looks) or a turn (at once), until one of the ends. */
function hear({ deeds }: Answer, end: End, draw: ReturnType<typeof random>): Heard {
  const last = deeds.at(-1)?.at ?? 0;
  const isSilent = end === 'stalled' || end === 'silent';
  const heardUntil = draw(0, last);
  const events = deeds.filter(({ at, event }) => event !== undefined && at <= heardUntil);
  // Before the first event two seconds are usual: that short nobody can tell a silence from a start.
  const stall = end === 'silent' ? 120_000 : draw(events.length > 0 ? 700 : 2_100, 60_000);
  const closedAt = isSilent ? heardUntil + stall : heardUntil;
  if (end === 'killed') return killed(events, heardUntil, draw);
  const reader = new UsageReader({ sentAt: 0 });
  const lookMs = end === 'left' ? draw(1, 200) : 0;
  let since = 0;
  for (const { at, event = '' } of events) {
    const readAt = lookMs === 0 ? at : Math.min(closedAt, Math.ceil(at / lookMs) * lookMs);
    if (readAt - lookMs > since) since = readAt - lookMs;
    reader.push(utf8(event), false, readAt, lookMs === 0 ? at : Math.min(since, at));
  }
  const { usage, seen = nothingSeen(closedAt) } = reader.reportAt(closedAt);
  return { closedAt, report: { usage, seen } };
}

/** Stores what came as a conversation does, loses its object, and wakes it again. */
function killed(events: readonly Deed[], diedAt: number, draw: ReturnType<typeof random>): Heard {
  const reader = new UsageReader({ sentAt: 0 });
  const builder = new MessageBuilder();
  let storedAt = 0;
  let unseenMs = 0;
  let coversUntil = 20_000;
  for (const { at, event = '' } of events) {
    // The object says every fifteen seconds that it goes on.
    while (at > coversUntil - 5_000) coversUntil += 15_000;
    const isDelta = event.startsWith('event: content_block_delta');
    if (isDelta && diedAt - at < STORE_MS) break;
    if (event.startsWith('event: ping')) continue;
    reader.push(utf8(event), false, at);
    builder.take(JSON.parse(event.slice(event.indexOf('data: ') + 6)));
    storedAt = at;
    unseenMs = reader.reportAt(at).seen?.unseen_ms ?? 0;
  }
  while (diedAt > coversUntil - 5_000) coversUntil += 15_000;
  const wokeAt = diedAt + draw(50, draw(0, 1) > 0.5 ? 1_000 : 60_000);
  const newest = events.length > 0 ? { at: storedAt, unseenMs } : undefined;
  const crash = unseenAtCrash(newest, { sentAt: 0, beganAt: 0, coversUntil }, builder, wokeAt);
  const { usage, seen = nothingSeen(0) } = reader.reportAt(storedAt);
  const times = { unseen_ms: crash.unseenMs, silent_ms: 0, lost_ms: crash.lostMs };
  return { closedAt: diedAt, report: { usage, seen: { ...seen, ...times } } };
}

interface Case {
  ratio: number;
  isSeen: boolean;
}

const models = new ModelTable();

/** @param speed the tokens that the model writes in a second */
function caseOf(kind: Class, end: End, seed: number, speed: number): Case {
  const draw = random(seed);
  const answer = answerOf(kind, speed, draw);
  const { closedAt, report } = hear(answer, end, draw);
  const { usage, seen } = report;
  const billed = billOf(answer.deeds, closedAt + NOTICE_MS);
  const { worstCase, terms } = worstCaseOf(answer.body as Record<string, unknown>, {
    bytes: JSON.stringify(answer.body).length,
    models,
  });
  const hold = worstCase.inputCost + worstCase.outputTokens * worstCase.outputPrice;
  const granted = { hold, mostOutput: terms.steps === 'one' ? worstCase.outputTokens : undefined, cancelStops: true };
  const { row } = models.price(MODEL);
  const { cost } = interruptedCost({ usage, seen, fallbacks: [], row }, { ...granted, terms });
  return { ratio: cost / billed, isSeen: seen.said + seen.thinking > 0 };
}

describe.each(CLASSES)('an answer of the class %s that did not end by itself', (kind) => {
  test.each(ENDS)('is never booked below its bill: %s', (end) => {
    fc.assert(
      fc.property(fc.integer(), fc.constantFrom(...SPEEDS), (seed, speed) => {
        expect(caseOf(kind, end, seed, speed).ratio).toBeGreaterThanOrEqual(1);
      }),
      { numRuns: CASES },
    );
  });

  const most = MOST[kind];
  test.each(['stopped', 'left', 'cut'] as const)(
    `is booked at most at ${most} times its bill in the median: %s`,
    (end) => {
      const ratios: number[] = [];
      for (let seed = 0; seed < CASES; seed += 1) {
        const { ratio, isSeen } = caseOf(kind, end, seed, SPEEDS[seed % SPEEDS.length] ?? 0);
        if (isSeen) ratios.push(ratio);
      }
      expect(ratios.length).toBeGreaterThan(CASES / 2);
      expect(ratios.toSorted((one, other) => one - other)[ratios.length >> 1]).toBeLessThanOrEqual(most);
    },
  );
});
