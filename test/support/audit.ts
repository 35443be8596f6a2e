/**
 * Answers of a Claude API that keeps a ledger of its own. What the edge books is compared with what the API bills: everything
 * that it did until it noticed that its connection was closed.
 */
import { sseEvent as eventOf } from './wire.ts';

export const CLASSES = [
  'text',
  'thinking',
  'tools',
  'search',
  'fetch',
  'code',
  'mcp',
  'whole',
  'slow',
  'unasked',
  'pondered',
  'advised',
  'handed',
] as const;
export const ENDS = ['stopped', 'left', 'cut', 'stalled', 'silent', 'killed'] as const;
export type Class = (typeof CLASSES)[number];
export type End = (typeof ENDS)[number];

/** The auditor's own price list, in nanodollars a token, and the pace of each model in tokens a second. */
export const MODELS = [
  { id: 'claude-opus-5-5', input: 4_000, output: 20_000, pace: 30 },
  { id: 'claude-sonnet-5-5', input: 2_000, output: 10_000, pace: 80 },
  { id: 'claude-haiku-4-5-20251001', input: 1_000, output: 5_000, pace: 150 },
  { id: 'claude-sonnet-4-6', input: 3_000, output: 15_000, pace: 300 },
] as const;
/** Those that think unasked, and show nothing of it. */
const THINKING_MODELS = [MODELS[0], { id: 'claude-haiku-5-5', input: 100, output: 500, pace: 200 }] as const;
/** Those for which another one steps in. */
const DECLINING_MODELS = [MODELS[1], MODELS[2], MODELS[3]] as const;
export type PricedModel = (typeof MODELS | typeof THINKING_MODELS)[number];

/** @returns the model of a case: all of a class have their turn */
export function modelOfCase(kind: Class, seed: number): PricedModel {
  const models =
    kind === 'unasked' || kind === 'pondered' ? THINKING_MODELS : kind === 'handed' ? DECLINING_MODELS : MODELS;
  return models[seed % models.length] ?? models[0];
}
/** The advisor, and who steps in. It counts more tokens for the same text, and reads some more. */
const SECOND_MODELS = MODELS[0];
const SECOND_TOKENS_FACTOR = 1.3;
const SEARCH_NANODOLLARS = 10_000_000;
/** Milliseconds until the API notices that its connection was closed. */
export const CLOSE_NOTICE_MS = 250;

/** What the API does at a time: it sends an event, reads a prompt, searches, or has written tokens up to then. */
export interface ApiAction {
  at: number;
  event?: string;
  prompt?: number;
  searches?: number;
  /** Tokens that it writes, evenly, in the time from the deed before. */
  written?: number;
  /** Who does it, if not the model of the answer. */
  by?: PricedModel;
}

export interface Answer {
  model: PricedModel;
  body: Record<string, unknown>;
  actions: ApiAction[];
}

/** A generator of numbers with a seed, so that a case can be repeated. */
export type Draw = (minimum: number, maximum: number) => number;
export function createRandom(seed: number): Draw {
  let state = seed | 0;
  return (minimum, maximum) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return minimum + (((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296) * (maximum - minimum);
  };
}

const PROSE_TEXT = 'the gate of a sluice rises, and the water that waited behind it runs on to the mill below; '.repeat(
  200,
);
/** About three and a half characters are a token of prose. */
const createProse = (tokens: number, perToken = 3.5) => {
  const length = Math.ceil(tokens * perToken);
  return PROSE_TEXT.repeat(Math.ceil(length / PROSE_TEXT.length)).slice(0, length);
};

const TOOLS: Record<Class, object> = {
  text: {},
  thinking: { thinking: { type: 'enabled', budget_tokens: 1_024 } },
  tools: { tools: [{ name: 'f', description: 'Does it.', input_schema: { type: 'object' } }] },
  search: { tools: [{ type: 'web_search_20260209', name: 'web_search', max_uses: 8 }] },
  fetch: { tools: [{ type: 'web_fetch_20260209', name: 'web_fetch', max_uses: 8, max_content_tokens: 8_000 }] },
  code: { tools: [{ type: 'code_execution_20260521', name: 'code_execution' }] },
  mcp: {
    mcp_servers: [{ type: 'url', url: 'https://example.com/mcp', name: 'm' }],
    tools: [{ type: 'mcp_toolset', mcp_server_name: 'm' }],
  },
  whole: { stream: false },
  slow: { tools: [{ type: 'web_search_20260209', name: 'web_search', max_uses: 8 }] },
  unasked: {},
  pondered: { tools: [{ type: 'web_search_20260209', name: 'web_search', max_uses: 8 }] },
  advised: { tools: [{ type: 'advisor_20260301', name: 'advisor', model: SECOND_MODELS.id, max_uses: 3 }] },
  handed: { fallbacks: [{ model: SECOND_MODELS.id }] },
};
/** The names of a served tool's blocks, how often it is used at most, and the most tokens of a result. */
interface ServerToolPlan {
  use: string;
  name: string;
  result: string;
  maxUses: number;
  maxResultTokens: number;
  /** The least and the most milliseconds that it runs. */
  ms: readonly [number, number];
  /** Whether pings come while it runs. */
  hasPings: boolean;
}

const QUICK_TOOL = { ms: [300, 2_500], hasPings: true } as const;
const SEARCH_TOOL = {
  use: 'server_tool_use',
  name: 'web_search',
  result: 'web_search_tool_result',
  maxUses: 8,
  maxResultTokens: 8_000,
};
/**
 * (The result of a use that runs is taken to have 8,000
 * tokens at most: a longer one that comes in the last quarter of a second costs more than is booked.)
 */
const SERVER_TOOLS: Partial<Record<Class, ServerToolPlan>> = {
  search: { ...SEARCH_TOOL, ...QUICK_TOOL },
  fetch: {
    use: 'server_tool_use',
    name: 'web_fetch',
    result: 'web_fetch_tool_result',
    maxUses: 8,
    maxResultTokens: 8_000,
    ...QUICK_TOOL,
  },
  code: {
    use: 'server_tool_use',
    name: 'code_execution',
    result: 'code_execution_tool_result',
    maxUses: 10,
    maxResultTokens: 1_000,
    ms: [300, 8_000],
    hasPings: true,
  },
  mcp: {
    use: 'mcp_tool_use',
    name: 'ask',
    result: 'mcp_tool_result',
    maxUses: 10,
    maxResultTokens: 4_000,
    ...QUICK_TOOL,
  },
  slow: { ...SEARCH_TOOL, ms: [200, 10_000], hasPings: false },
  pondered: { ...SEARCH_TOOL, ...QUICK_TOOL },
};
/** Bytes a token: ids and hashes, JSON or Chinese, code, prose. */
const BYTES_PER_TOKEN_CHOICES = [1.5, 2.4, 3, 3.6];
/** The most that is thought unasked. */
const MAX_THINKING_TOKENS = 2_500;
/** What callers ask for. An answer takes a third of it, or more. */
const MAX_TOKENS_CHOICES = [512, 1_024, 2_048, 4_096];

const drawOne = <T>(values: readonly T[], draw: Draw) => values[Math.floor(draw(0, values.length))] as T;

/** How an answer differs from one that ends by itself. */
interface AnswerVariation {
  /** What callers may ask for. */
  mosts?: readonly number[];
  /** Whether it goes on for as long as it may: what nobody hears the end of has mostly not ended. */
  goesOn?: boolean;
  /** The most tokens of a result of a served tool. Default: those of the tool. */
  maxResultTokens?: number;
}

/** Makes an answer of a class, as the API gives it: its events with their times, and its bill. */
export function createAnswer(kind: Class, model: PricedModel, draw: Draw, course: AnswerVariation = {}): Answer {
  const { mosts = MAX_TOKENS_CHOICES, goesOn = false } = course;
  const speed = (model.pace * draw(0.8, 1.2)) / 1_000;
  const served = SERVER_TOOLS[kind];
  // The API adds its tools to the prompt, and who uses them has more to say.
  const isLong = served !== undefined || kind === 'advised' || kind === 'handed';
  const prompt = Math.floor(isLong ? draw(2_000, 20_000) : draw(200, 6_000));
  const most = drawOne(mosts, draw);
  const length = most * (goesOn ? 1 : draw(0.33, 1));
  const body = {
    model: model.id,
    max_tokens: kind === 'thinking' ? 1_024 + most : most,
    stream: true,
    messages: [{ role: 'user', content: createProse(prompt - 50, drawOne(BYTES_PER_TOKEN_CHOICES, draw)) }],
    ...TOOLS[kind],
  };
  const usage = { input_tokens: prompt, output_tokens: 1 };
  const deeds: ApiAction[] = [{ at: 0, prompt }];
  let at = draw(300, 1_500);
  let index = 0;
  let written = 0;
  let added = 0;
  let thought = 0;
  let by: PricedModel = model;
  const addEvent = (event: string) => deeds.push({ at, event });
  const writeTokens = (tokens: number, event?: string) => {
    at += tokens / (by === model ? speed : by.pace / 1_000);
    if (kind !== 'advised' || by === model) written += tokens;
    deeds.push({ at, written: tokens, by, ...(event === undefined ? {} : { event }) });
  };
  /** The second model reads the prompt. Nobody hears of it before it has something to say. */
  const beginSecondModel = (tokens: number) => {
    by = SECOND_MODELS;
    deeds.push({ at, prompt: Math.ceil(tokens * SECOND_TOKENS_FACTOR), by });
    at += draw(300, 1_500);
  };
  const addBlock = (content_block: object, parts: () => void) => {
    addEvent(eventOf('content_block_start', { index, content_block }));
    parts();
    addEvent(eventOf('content_block_stop', { index }));
    index += 1;
  };
  const addDelta = (data: object) => eventOf('content_block_delta', { index, delta: data });
  const writeText = (tokens: number) =>
    addBlock({ type: 'text', text: '' }, () => {
      for (let left = tokens; left > 0; ) {
        const piece = Math.min(left, Math.ceil(draw(1, 12)));
        writeTokens(piece, addDelta({ type: 'text_delta', text: createProse(piece) }));
        left -= piece;
      }
    });
  const addToolCall = (type: string, name: string) =>
    addBlock({ type, id: `t${index}`, name, input: {} }, () =>
      writeTokens(
        Math.ceil(draw(25, 60)),
        addDelta({ type: 'input_json_delta', partial_json: '{"query":"how a sluice works"}' }),
      ),
    );
  addEvent(eventOf('message_start', { message: { id: 'm', type: 'message', model: model.id, usage, content: [] } }));
  if (kind === 'thinking') {
    const isShown = draw(0, 1) > 0.5;
    addBlock({ type: 'thinking', thinking: '', signature: '' }, () => {
      for (let left = draw(50, 1_000); left > 0; left -= 10) {
        writeTokens(10, isShown ? addDelta({ type: 'thinking_delta', thinking: createProse(5) }) : undefined);
      }
      addEvent(addDelta({ type: 'signature_delta', signature: 'c2ln' }));
    });
    thought = written;
  }
  const thinkHiddenTokens = (tokens: number) => {
    // The block may begin before it is thought, or only with its signature.
    const before = draw(0, 1) > 0.5 ? tokens : 0;
    writeTokens(before);
    addBlock({ type: 'thinking', thinking: '', signature: '' }, () =>
      writeTokens(tokens - before, addDelta({ type: 'signature_delta', signature: 'c2ln' })),
    );
    thought += tokens;
  };
  if (kind === 'unasked') thinkHiddenTokens(Math.min(most, draw(0, MAX_THINKING_TOKENS)));
  const uses = served ? (goesOn ? served.maxUses : Math.ceil(draw(0, 8))) : 0;
  for (let use = 0; served && use < uses; use += 1) {
    if (kind === 'pondered') thinkHiddenTokens(draw(0, 400));
    if (draw(0, 1) > 0.6) writeText(draw(10, 60));
    addToolCall(served.use, served.name);
    if (served.name === 'web_search') deeds.push({ at, searches: 1 });
    const ends = at + draw(...served.ms);
    // The API mostly sends pings while a tool runs.
    for (let ping = at + 1_000; served.hasPings && ping < ends; ping += 1_000)
      deeds.push({ at: ping, event: eventOf('ping', {}) });
    at = ends;
    const { maxResultTokens = served.maxResultTokens } = course;
    const tokens = Math.floor(draw(maxResultTokens / 10, maxResultTokens));
    added += tokens;
    const content = [{ type: 'text', text: createProse(tokens) }];
    addBlock({ type: served.result, tool_use_id: `t${index - 1}`, content }, () => undefined);
    deeds.push({ at, prompt: prompt + added + written });
  }
  for (let use = kind === 'advised' ? Math.ceil(draw(0, 3)) : 0; use > 0; use -= 1) {
    writeText(draw(10, 200));
    addToolCall('server_tool_use', 'advisor');
    beginSecondModel(prompt + added + written);
    const advice = Math.floor(draw(50, 400));
    writeTokens(advice);
    by = model;
    added += advice;
    const content = { type: 'advisor_result', text: createProse(advice), stop_reason: 'end_turn' };
    addBlock({ type: 'advisor_tool_result', tool_use_id: `t${index - 1}`, content }, () => undefined);
    deeds.push({ at, prompt: prompt + added + written });
  }
  if (kind === 'handed') {
    writeText(draw(10, 200));
    beginSecondModel(prompt);
    const [from, to] = [{ model: model.id }, { model: SECOND_MODELS.id }];
    addBlock({ type: 'fallback', from, to }, () => undefined);
  }
  // What was thought counts to `max_tokens`, and may leave no tokens.
  const isCut = kind === 'unasked' && thought >= most;
  const room = kind === 'unasked' ? most - thought : most;
  if (!isCut) writeText(kind === 'tools' ? Math.max(20, length - 60) : Math.min(length, room));
  if (kind === 'tools') addToolCall('tool_use', 'f');
  at += draw(0, 60);
  const final = { output_tokens: Math.round(written), output_tokens_details: { thinking_tokens: Math.round(thought) } };
  addEvent(eventOf('message_delta', { delta: { stop_reason: isCut ? 'max_tokens' : 'end_turn' }, usage: final }));
  addEvent(eventOf('message_stop', {}));
  return { model, body, actions: kind === 'whole' ? deeds.map(({ event: _, ...deed }) => deed) : deeds };
}

/** @returns what the API bills for what it has done until then; nanodollars. */
export function computeBill({ model, actions: deeds }: Answer, until: number): number {
  let bill = 0;
  let before = 0;
  for (const { at, prompt = 0, searches = 0, written = 0, by = model } of deeds) {
    if (at <= until) bill += prompt * by.input + searches * SEARCH_NANODOLLARS + written * by.output;
    else if (before < until) bill += ((until - before) / (at - before)) * written * by.output;
    before = at;
  }
  return bill;
}
