/** Compares a response with the expected one. No I/O, so that stored responses can be compared, too. */
import {
  computeCost,
  countPromptTokens,
  isCount,
  toUsd,
  toValidCountOrZero,
  type Usage,
} from '../src/edge/claude/pricing/cost.ts';
import { isThinkingOff } from '../src/edge/claude/pricing/minimal-thinking.ts';
import { isObject, type JsonObject } from '../src/edge/kit/json/object.ts';
import { parseJsonOrUndefined } from '../src/edge/kit/json/parse.ts';
import type { LedgerRow } from '../src/edge/money/account/usage-answers.schema.ts';
import { type ProveCall, TABLE } from './prove-calls.ts';

/** An answer as it was read. `type` is its content type. */
export type Answer = { status: number; type: string; text: string };

type AnswerContent = {
  model?: string;
  stop_reason?: string | null;
  content?: { type: string }[];
  input_tokens?: number;
};
type Body = JsonObject & AnswerContent & { usage?: Usage & JsonObject; error?: { type: string } };

/** The facts of a response. A stream is merged into a message; `events` are the types of its events. */
export type Facts = { status: number; body: Body; events?: string };

/** The fields that Sluice adds to a token count. */
const OF_EDGE = /^(context_window|cost_usd|fits)/;
const STREAM =
  /^message_start( content_block_start( content_block_delta)* content_block_stop)* message_delta message_stop$/;
const CACHE = ['cache_creation_input_tokens', 'cache_read_input_tokens'] as const;

const parseBody = (text: string) => (parseJsonOrUndefined(text) ?? {}) as JsonObject;

/** Reads an answer, which may be cut or malformed. */
export function readFacts({ status, type, text }: Answer): Facts {
  if (!type.startsWith('text/event-stream')) return { status, body: parseBody(text) };
  const events = [...text.matchAll(/^event: (\w+)\ndata: (.*)\n\n/gm)].filter(([, name]) => name !== 'ping');
  const content: unknown[] = [];
  let body: JsonObject = { usage: {} };
  for (const [, name, text = ''] of events) {
    const { message, content_block, delta, usage } = parseBody(text) as Record<string, JsonObject | undefined>;
    if (name === 'message_start') body = { ...body, ...message, content };
    if (name === 'content_block_start') content.push(content_block);
    if (name !== 'message_delta') continue;
    const told = Object.entries(usage ?? {}).filter(([, value]) => value !== null);
    body = { ...body, ...delta, usage: { ...(body.usage as JsonObject), ...Object.fromEntries(told) } };
  }
  return { status, body, events: events.map(([, name]) => name).join(' ') };
}

/** @returns the names of members that say something, and of those in its usage */
function listMembers(body: JsonObject, path = ''): string[] {
  return Object.entries(body).flatMap(([name, value]) => {
    const isOpen = isObject(value) && (name === 'usage' || path !== '');
    return isOpen ? listMembers(value, `${path}${name}.`) : value === null ? [] : [path + name];
  });
}

/** @returns the cost of a response by the price table, in nanodollars; undefined without a usage, and for an unknown model */
export function expectedPrice({ body: { usage, model } }: Facts, batch = false): number | undefined {
  const row = model === undefined ? undefined : TABLE.findRow(model);
  return usage && row && computeCost(usage, row, { batch, priceOf: (name) => TABLE.findPriceRow(name).row });
}

type Checks = [isWrong: boolean, words: string][];
const failedChecks = (checks: Checks) => [...new Set(checks.flatMap(([isWrong, words]) => (isWrong ? [words] : [])))];

/** @returns the differences of an answer, each in a few words. @param earlier what came of the call that this is `after` */
export function findDifferences(call: ProveCall, expected: Facts, came: Facts, earlier?: Facts): string[] {
  const [is, was] = [came.body, expected.body];
  const outcomes = [came, expected].map(({ status, body }) => `${status} ${body.error?.type ?? ''}`.trim());
  if (outcomes[0] !== outcomes[1]) return [outcomes.join(', expected ')];
  if (came.status >= 400) return [];
  if (call.stops)
    return failedChecks([[!isCount(is.usage?.input_tokens), 'no input tokens at the start of the stream']]);
  const [now, before] = [listMembers(is), listMembers(was)];
  const checks: Checks = [
    ...now.map((one): Checks[0] => [!before.includes(one) && !OF_EDGE.test(one), `new: ${one}`]),
    ...before.map((one): Checks[0] => [!now.includes(one), `missing: ${one}`]),
    ...(is.usage ? createChecks(call.body ?? { model: '' }, was, is, is.usage) : []),
  ];
  const { events = '', body } = came;
  if (expected.events) checks.push([!STREAM.test(events), `the stream is ${events.replace(/\b(\w+)( \1)+/g, '$1…')}`]);
  if (!earlier?.body.usage) return failedChecks(checks);
  const { usage } = earlier.body;
  const [count, prompt] = [body.input_tokens, countPromptTokens(usage)];
  const [read, written] = [body.usage?.cache_read_input_tokens, usage.cache_creation_input_tokens];
  // Holds assume that a count differs from the billed tokens by at most this margin, so a larger difference is a fault.
  const isOff = count !== undefined && Math.abs(count - prompt) > Math.max(64, prompt * 0.02);
  checks.push([isOff, `counted ${count} tokens, billed ${prompt}`]);
  checks.push([count === undefined && read !== written, `${read} read from the cache, ${written} written`]);
  return failedChecks(checks);
}

function createChecks(asked: JsonObject & { model: string }, was: Body, is: Body, usage: Usage): Checks {
  const type = isObject(asked.thinking) ? asked.thinking.type : TABLE.findRow(asked.model)?.thinking?.default;
  const thinks = !isThinkingOff(type) && type !== 'off' && asked.tool_choice === undefined;
  const [output, most] = [toValidCountOrZero(usage.output_tokens), toValidCountOrZero(asked.max_tokens)];
  // The length of thinking is unknown beforehand. A response may reach `max_tokens` while the model thinks, so it may lack the
  // expected text.
  const isCut = thinks && is.stop_reason === 'max_tokens' && output >= most;
  const [kinds, due] = [is, was].map(({ content = [] }) => content.map((block) => block.type)) as [string[], string[]];
  const mayHave = [...due, ...(thinks ? ['thinking'] : []), ...(asked.tools && !asked.tool_choice ? ['text'] : [])];
  const mayLack = isCut ? due : ['thinking', ...(due.includes('tool_use') ? ['text'] : [])];
  const thought = toValidCountOrZero(usage.output_tokens_details?.thinking_tokens);
  const lifetimes = Object.values(usage.cache_creation ?? {}).reduce<number>(
    (sum, one) => sum + toValidCountOrZero(one),
    0,
  );
  const [searches, dueSearches] = [usage, was.usage].map((of) =>
    toValidCountOrZero(of?.server_tool_use?.web_search_requests),
  );
  return [
    [is.model !== asked.model, `answered by ${is.model}`],
    [is.stop_reason !== was.stop_reason && !isCut, `stop ${is.stop_reason}, expected ${was.stop_reason}`],
    ...kinds.map((kind): Checks[0] => [!mayHave.includes(kind), `new block ${kind}`]),
    ...due.map((kind): Checks[0] => [!kinds.includes(kind) && !mayLack.includes(kind), `no block ${kind}`]),
    [output === 0 || output > most, `${output} output tokens of at most ${most}`],
    [thought > output || (thought > 0 && !thinks), `${thought} thinking tokens of ${output}`],
    [thought === 0 && kinds.includes('thinking'), 'a thinking block without thinking tokens'],
    [
      toValidCountOrZero(usage.cache_creation_input_tokens) !== lifetimes,
      'cache writes are not the sum of their lifetimes',
    ],
    ...CACHE.map((name): Checks[0] => [!usage[name] !== !was.usage?.[name], `${name} ${usage[name]}`]),
    [searches !== dueSearches, `${searches} searches billed`],
  ];
}

/** @returns what is wrong with what the edge has booked. @param worst the most that the call can cost, in nanodollars */
export function findBookingFaults(
  { stops }: ProveCall,
  came: Facts,
  booked: LedgerRow | undefined,
  worst: number,
): string[] {
  const price = came.status >= 400 ? 0 : expectedPrice(came);
  if (booked === undefined || price === undefined) return [booked ? 'no usage that has a price' : 'nothing is booked'];
  const { cost_usd, status, estimated, stop_reason, over_hold, unpriced } = booked;
  // Neither the API nor Sluice knows the exact bill of a stopped response. Check only that the booked cost is between the price
  // of what has arrived and the maximum.
  const isOther = stops ? cost_usd < toUsd(price) || cost_usd > toUsd(worst) : cost_usd !== toUsd(price);
  const isWhole = stops || came.status >= 400 || (status === 'complete' && !estimated);
  return failedChecks([
    [isOther, `booked $${cost_usd}, not $${toUsd(price)}`],
    [price > worst, `costs $${toUsd(price)}, more than its worst case`],
    [over_hold, 'billed more than the edge had set aside'],
    [unpriced, 'a model without a price'],
    [!isWhole, `booked as ${status}${estimated ? ', by estimate' : ''}`],
    [!stops && stop_reason !== (came.body.stop_reason ?? null), `booked with the stop ${stop_reason}`],
  ]);
}
