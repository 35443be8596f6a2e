/** A Claude API whose models think as Anthropic's pages say, by the question: the source's own rows are not read here. */

import type { Fetch } from '#edge/claude/upstream.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { estimateTokenCount } from '#simulator/text/tokens.ts';
import { createFakeBatchApi } from './batch-api.ts';

/** What a model does unasked, which kinds of `thinking` and which efforts it takes, and with which it does not think. */
interface PublishedThinking {
  isDefault: boolean;
  types: string;
  efforts: string;
  offEfforts: string;
  canForceTool: boolean;
}

const EFFORTS_TO_HIGH = 'low medium high';
const EFFORTS_WITHOUT_XHIGH = `${EFFORTS_TO_HIGH} max`;
const ALL_EFFORTS = `${EFFORTS_TO_HIGH} xhigh max`;

function describeThinking(
  byItself: boolean,
  types: string,
  efforts: string,
  offEfforts = efforts,
  forced = true,
): PublishedThinking {
  return { isDefault: byItself, types, efforts, offEfforts, canForceTool: forced };
}

const ALWAYS_THINKS = describeThinking(true, 'adaptive', ALL_EFFORTS, '', false);
const ALWAYS_THINKS_5 = describeThinking(true, 'adaptive', ALL_EFFORTS, '');
const THINKS_BY_DEFAULT = describeThinking(true, 'adaptive disabled', ALL_EFFORTS, EFFORTS_TO_HIGH);
const THINKS_ON_REQUEST = describeThinking(false, 'adaptive disabled', ALL_EFFORTS);
const THINKS_ON_REQUEST_4_6 = describeThinking(false, 'adaptive enabled disabled', EFFORTS_WITHOUT_XHIGH);
const THINKS_WITHIN_BUDGET = describeThinking(false, 'enabled disabled', '');
const THINKS_WITHIN_BUDGET_OPUS = describeThinking(false, 'enabled disabled', EFFORTS_TO_HIGH);

const PUBLISHED_BY_MODEL: Readonly<Record<string, PublishedThinking>> = {
  'claude-fable-5-2': ALWAYS_THINKS,
  'claude-mythos-5-2': ALWAYS_THINKS,
  'claude-fable-5-1': ALWAYS_THINKS,
  'claude-mythos-5-1': ALWAYS_THINKS,
  'claude-fable-5': ALWAYS_THINKS_5,
  'claude-mythos-5': ALWAYS_THINKS_5,
  'claude-opus-5-5': ALWAYS_THINKS,
  'claude-opus-5': THINKS_BY_DEFAULT,
  'claude-opus-4-8': THINKS_ON_REQUEST,
  'claude-opus-4-7': THINKS_ON_REQUEST,
  'claude-opus-4-6': THINKS_ON_REQUEST_4_6,
  'claude-opus-4-5': THINKS_WITHIN_BUDGET_OPUS,
  'claude-opus-4-5-20251101': THINKS_WITHIN_BUDGET_OPUS,
  'claude-sonnet-5-5': describeThinking(true, 'adaptive between_tools', ALL_EFFORTS, EFFORTS_TO_HIGH, false),
  'claude-sonnet-5': describeThinking(true, 'adaptive disabled', ALL_EFFORTS),
  'claude-sonnet-4-6': THINKS_ON_REQUEST_4_6,
  'claude-sonnet-4-5': THINKS_WITHIN_BUDGET,
  'claude-haiku-5-5': THINKS_BY_DEFAULT,
  'claude-haiku-4-5': THINKS_WITHIN_BUDGET,
};

/** One question in so many makes a model think this much; the others up to `MOST_THOUGHT`. */
const [LONG_EVERY, LONG_THOUGHT, MOST_THOUGHT] = [50, 6_000, 2_500];
/** Spreads the thoughts of questions in a row evenly, however many they are. */
const STRIDE = 1_546;
const TAG = /<(input-\w+)>\n([\s\S]*)\n<\/\1>/;

interface LabelRequest {
  model: string;
  max_tokens: number;
  system: { text: string }[];
  messages: { content: { text: string }[] }[];
  thinking?: { type: string };
  output_config?: { effort?: string; format?: { schema: JsonObject } };
  tools?: { name: string; input_schema: JsonObject }[];
  tool_choice?: { type: string };
}

interface LabelResponse {
  type: string;
  error?: { type: string; message: string };
  usage?: { input_tokens: number; output_tokens: number; output_tokens_details: { thinking_tokens: number } };
  [member: string]: unknown;
}

/** @returns a text to label, whose number decides how much is thought about it; the label that it is given stands in front */
export function createTicket(n: number, labels: readonly string[]): string {
  const label = labels[n % labels.length];
  return `${label}, writes customer ${n}: since last week I ask about my order and its invoice, and nobody has answered yet. Please tell me what I can do.`;
}

/** @returns how many tokens the models that think do so about a text: by its number */
function thinkingTokensFor(text: string): number {
  const n = Number(/\d+/.exec(text)?.[0] ?? 1);
  return n % LONG_EVERY === LONG_EVERY - 1 ? LONG_THOUGHT : (n * STRIDE) % (MOST_THOUGHT + 1);
}

/** @returns what a model refuses of a request; undefined if it takes all of it */
function findRejection({
  model,
  thinking,
  output_config: config,
  tool_choice: choice,
}: LabelRequest): string | undefined {
  const taken = PUBLISHED_BY_MODEL[model];
  if (!taken) return `model: ${model}`;
  const { type } = thinking ?? {};
  if (type !== undefined && !taken.types.split(' ').includes(type)) {
    return `"thinking.type.${type}" is not supported for this model.`;
  }
  const isOff = type === 'disabled' || type === 'between_tools';
  const effort = config?.effort;
  if (effort !== undefined && !(isOff ? taken.offEfforts : taken.efforts).split(' ').includes(effort)) {
    return `This model does not support effort level '${effort}' here.`;
  }
  const forces = choice?.type === 'any' || choice?.type === 'tool';
  if (forces && (!taken.canForceTool || type === 'enabled')) {
    return 'tool_choice: type "tool" and "any" are not supported for this model.';
  }
  return undefined;
}

/**
 * Answers a request for a label: with the label that stands in front of the text. Thinking counts to `max_tokens`, and what does
 * not fit is cut, without a text.
 *
 * @returns a message, or the error for what the model does not take
 */
function answerLabelRequest(request: LabelRequest): LabelResponse {
  const { model, max_tokens, system, thinking, messages, output_config: config, tools } = request;
  const fault = findRejection(request);
  if (fault !== undefined) return { type: 'error', error: { type: 'invalid_request_error', message: fault } };
  const said = [...system, ...(messages.at(-1)?.content ?? [])].map(({ text }) => text).join('\n');
  const [, tag = '', text = ''] = TAG.exec(said) ?? [];
  const { type = PUBLISHED_BY_MODEL[model]?.isDefault ? 'adaptive' : 'disabled' } = thinking ?? {};
  const thought = type === 'adaptive' || type === 'enabled' ? thinkingTokensFor(text) : 0;
  const input = { label: /^\w+/.exec(text)?.[0] };
  const [tool] = tools ?? [];
  const spoken = tool
    ? { type: 'tool_use', id: 'toolu_01', name: tool.name, input }
    : { type: 'text', text: JSON.stringify(input) };
  const needed = thought + estimateTokenCount(JSON.stringify(input));
  const isCut = needed > max_tokens;
  // The tag is drawn anew each time, and has not always as many tokens.
  const told = said.replaceAll(tag, 'input') + JSON.stringify(tool?.input_schema ?? config?.format?.schema ?? '');
  return {
    id: 'msg_01',
    type: 'message',
    role: 'assistant',
    model,
    stop_sequence: null,
    content: [
      ...(thought > 0 ? [{ type: 'thinking', thinking: '', signature: 'c2lnbmVk' }] : []),
      ...(isCut ? [] : [spoken]),
    ],
    stop_reason: isCut ? 'max_tokens' : tool ? 'tool_use' : 'end_turn',
    usage: {
      input_tokens: estimateTokenCount(told),
      output_tokens: Math.min(max_tokens, needed),
      output_tokens_details: { thinking_tokens: Math.min(max_tokens, thought) },
    },
  };
}

/** @returns the API, with what it has been asked, in batches and by messages, and the tokens that it has read and written */
export function createThinkingApi() {
  const api = {
    calls: 0,
    read: 0,
    written: 0,
    answer,
    fetch: handleFetch,
    batches: createFakeBatchApi({ answer: (request) => answerLabelRequest(request as LabelRequest) }),
  };
  function answer(asked: object): LabelResponse {
    const answered: LabelResponse = answerLabelRequest(asked as LabelRequest);
    api.calls += 1;
    api.read += answered.usage?.input_tokens ?? 0;
    api.written += answered.usage?.output_tokens ?? 0;
    return answered;
  }
  async function handleFetch(url: string, { method = 'GET', body }: RequestInit): Promise<Response> {
    const text = await new Response(body).text();
    if (url.includes('/messages/batches')) {
      // Results are read more than once, and are made only once.
      if (text !== '') for (const { params } of JSON.parse(text).requests) answer(params);
      return api.batches.handle(method, url, text);
    }
    if (url.endsWith('/count_tokens')) return Response.json({ input_tokens: 200 });
    const answered = answer(JSON.parse(text));
    return Response.json(answered, { status: answered.error ? 400 : 200 });
  }
  return api satisfies { fetch: Fetch };
}
