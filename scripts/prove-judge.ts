/** Compares what came with what was expected. No I/O: an answer is judged as it comes, and years later as a fixture. */
import { computeCost, isCount, promptTokens, toUsd, type Usage, wholeCount } from '../src/edge/claude/pricing/cost.ts';
import { switchesOff } from '../src/edge/claude/pricing/thinking-off.ts';
import { isObject, type Json } from '../src/edge/kit/json/object.ts';
import { type ProveCall, TABLE } from './prove-calls.ts';

/** An answer as it was read. */
export interface Answer {
  status: number;
  /** Its content type. */
  type: string;
  text: string;
}

interface Body extends Json {
  model?: string;
  stop_reason?: string | null;
  content?: { type: string }[];
  usage?: Usage & Json;
  error?: { type: string };
  input_tokens?: number;
}

/** What an answer says. A stream is put together. */
export interface Facts {
  status: number;
  body: Body;
  /** The kinds of its events. */
  events: string[];
  /** What is wrong with the order of its events. */
  broken?: string | undefined;
}

/** What the edge's ledger says of a request. */
export interface Booked {
  status: string;
  cost_usd: number;
  estimated: boolean;
  over_hold: boolean;
  unpriced: boolean;
  stop_reason: string | null;
}

/** How far a count may be from what is billed, as a share, and on short prompts in tokens: the edge's holds rely on it. */
const COUNT_SHARE = 0.02;
const COUNT_TOKENS = 64;
/** What the edge adds to a count. */
const OF_EDGE = /^(context_window|cost_usd|fits)/;

/** Reads an answer. @param stops whether its reader went away in the middle, so that it need not have an end */
export function factsOf({ status, type, text }: Answer, stops = false): Facts {
  if (!type.startsWith('text/event-stream')) return { status, body: parsed(text), events: [] };
  const frames = text.split('\n\n').slice(0, -1);
  const events = frames.flatMap((frame) => {
    const [, name = '', data = ''] = /^event: (\w+)\ndata: (.*)$/.exec(frame) ?? [];
    // The edge says the cost in a comment.
    return frame.startsWith(':') ? [] : [{ name, data: parsed(data) as Json }];
  });
  const names = events.map(({ name }) => name).filter((name) => name !== 'ping');
  const content: { type: string }[] = [];
  const body: Body = {};
  const count = (name: string) => names.filter((one) => one === name).length;
  let broken = names[0] === 'message_start' ? undefined : 'does not begin with message_start';
  for (const { name, data } of events) {
    if (data.type !== name) broken ??= `has an event “${name}” with data of ${data.type}`;
    if (name === 'message_start') Object.assign(body, data.message, { content });
    if (name === 'content_block_start' && data.index !== content.push(data.content_block as { type: string }) - 1)
      broken ??= 'has blocks out of order';
    if (name !== 'message_delta') continue;
    const said = Object.entries(data.usage ?? {}).filter(([, value]) => value !== null);
    Object.assign(body, data.delta, { usage: { ...body.usage, ...Object.fromEntries(said) } });
  }
  if (count('error') > 0) broken ??= 'has an error event';
  if (!stops && names.at(-1) !== 'message_stop') broken ??= 'does not end with message_stop';
  if (!stops && count('content_block_start') !== count('content_block_stop')) broken ??= 'has a block without an end';
  return { status, body, events: [...new Set(names)], broken };
}

function parsed(text: string): Body {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}

/** @returns the names of members that say something, and of those in its usage */
function membersOf(body: Json, path = ''): string[] {
  return Object.entries(body).flatMap(([name, value]) => {
    if (value === null) return [];
    const isOpen = isObject(value) && (name === 'usage' || path !== '');
    return isOpen ? membersOf(value, `${path}${name}.`) : [path + name];
  });
}

/** @returns what the table says that an answer costs, in nanodollars; undefined without a usage, and for an unknown model */
export function priceOf({ body: { usage, model } }: Facts, batch = false): number | undefined {
  const row = model === undefined ? undefined : TABLE.find(model);
  return usage && row && computeCost(usage, row, { batch, priceOf: (name) => TABLE.price(name).row });
}

/** @returns the differences of an answer, each in a few words. @param earlier what came of the call that this is `after` */
export function judge(call: ProveCall, expected: Facts, came: Facts, earlier?: Facts): string[] {
  const [is, was] = [came.body, expected.body];
  const error = `${came.status} ${is.error?.type ?? ''}`;
  const right = `${expected.status} ${was.error?.type ?? ''}`;
  if (error !== right) return [`${error}, expected ${right}`];
  if (came.status >= 400) return [];
  const wrong = came.broken === undefined ? [] : [`the stream ${came.broken}`];
  if (call.stops)
    return isCount(is.usage?.input_tokens) ? wrong : [...wrong, 'no input tokens at the start of the stream'];
  const lists = [
    [membersOf(is), membersOf(was)],
    [came.events, expected.events],
  ] as const;
  for (const [now, before] of lists) {
    wrong.push(...now.filter((one) => !before.includes(one) && !OF_EDGE.test(one)).map((one) => `new: ${one}`));
    wrong.push(...before.filter((one) => !now.includes(one)).map((one) => `missing: ${one}`));
  }
  if (is.usage) wrong.push(...judgeMessage(call, was, is, is.usage));
  if (!earlier?.body.usage) return wrong;
  const { usage } = earlier.body;
  const [prompt, count] = [promptTokens(usage), is.input_tokens];
  const isNear = count === undefined || Math.abs(count - prompt) <= Math.max(COUNT_TOKENS, prompt * COUNT_SHARE);
  if (!isNear) wrong.push(`counted ${count} tokens, billed ${prompt}`);
  const [read, written] = [is.usage?.cache_read_input_tokens, usage.cache_creation_input_tokens];
  if (count === undefined && read !== written) wrong.push(`${read} tokens read from the cache, ${written} written`);
  return wrong;
}

function judgeMessage({ body: asked = { model: '' } }: ProveCall, was: Body, is: Body, usage: Usage): string[] {
  const type = isObject(asked.thinking) ? asked.thinking.type : TABLE.find(asked.model)?.thinking?.default;
  const thinks = !switchesOff(type) && type !== 'off' && asked.tool_choice === undefined;
  const [output, most] = [wholeCount(usage.output_tokens), wholeCount(asked.max_tokens)];
  // Nobody knows how long a model thinks: it may have no room for a text then.
  const isCut = thinks && is.stop_reason === 'max_tokens' && output >= most;
  const kinds = (body: Body) => (body.content ?? []).map((block) => block.type);
  const mayHave = [
    ...kinds(was),
    ...(thinks ? ['thinking'] : []),
    ...(asked.tools && !asked.tool_choice ? ['text'] : []),
  ];
  const mayLack = isCut ? kinds(was) : ['thinking', ...(kinds(was).includes('tool_use') ? ['text'] : [])];
  const thought = wholeCount(usage.output_tokens_details?.thinking_tokens);
  const { ephemeral_5m_input_tokens: short, ephemeral_1h_input_tokens: long } = usage.cache_creation ?? {};
  const written = wholeCount(usage.cache_creation_input_tokens);
  const has = (name: 'cache_creation_input_tokens' | 'cache_read_input_tokens', of = usage) => wholeCount(of[name]) > 0;
  const searches = (of?: Usage) => wholeCount(of?.server_tool_use?.web_search_requests);
  const checks: [isWrong: boolean, words: string][] = [
    [is.model !== asked.model, `answered by ${is.model}`],
    [is.stop_reason !== was.stop_reason && !isCut, `stop ${is.stop_reason}, expected ${was.stop_reason}`],
    ...kinds(is).map((kind): [boolean, string] => [!mayHave.includes(kind), `new block ${kind}`]),
    ...kinds(was).map((kind): [boolean, string] => [![...kinds(is), ...mayLack].includes(kind), `no block ${kind}`]),
    [output === 0 || output > most, `${output} output tokens of at most ${most}`],
    [thought > output || (thought > 0 && !thinks), `${thought} thinking tokens of ${output}`],
    [thought === 0 && kinds(is).includes('thinking'), 'a thinking block without thinking tokens'],
    [written !== wholeCount(short) + wholeCount(long), 'cache writes are not the sum of their lifetimes'],
    [
      has('cache_creation_input_tokens') !== has('cache_creation_input_tokens', was.usage),
      `${written} written to the cache`,
    ],
    [
      has('cache_read_input_tokens') !== has('cache_read_input_tokens', was.usage),
      `${usage.cache_read_input_tokens} read from the cache`,
    ],
    [searches(usage) !== searches(was.usage), `${searches(usage)} searches billed`],
  ];
  return [...new Set(checks.flatMap(([isWrong, words]) => (isWrong ? [words] : [])))];
}

/** @returns what is wrong with what the edge has booked. @param worst the most that the call can cost, in nanodollars */
export function judgeBooked({ stops }: ProveCall, came: Facts, booked: Booked | undefined, worst: number): string[] {
  if (booked === undefined) return ['nothing is booked'];
  const price = came.status >= 400 ? 0 : priceOf(came);
  if (price === undefined) return ['no usage that has a price'];
  const { cost_usd, status, estimated, stop_reason = null } = booked;
  // Nobody is told what a stopped answer is billed: only the least and the most are known.
  const isOther = stops ? cost_usd < toUsd(price) || cost_usd > toUsd(worst) : cost_usd !== toUsd(price);
  const isWhole = stops || came.status >= 400 || (status === 'complete' && !estimated);
  const checks: [isWrong: boolean, words: string][] = [
    [isOther, `booked $${cost_usd}, not $${toUsd(price)}`],
    [price > worst, `costs $${toUsd(price)}, more than its worst case`],
    [booked.over_hold, 'billed more than the edge had set aside'],
    [booked.unpriced, 'a model without a price'],
    [!isWhole, `booked as ${status}${estimated ? ', by estimate' : ''}`],
    [!stops && stop_reason !== (came.body.stop_reason ?? null), `booked with the stop ${stop_reason}`],
  ];
  return checks.flatMap(([isWrong, words]) => (isWrong ? [words] : []));
}
