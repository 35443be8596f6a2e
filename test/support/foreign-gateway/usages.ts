/** How gateways that speak the API's language tell what an answer has used, where it is not as the API tells it. */

import type { Usage } from '#edge/claude/pricing/cost.ts';
import { block, event, message, start } from '#test/support/wire.ts';

/** What the answer has used in truth: the bill. */
export const USED = {
  input_tokens: 15_000,
  cache_read_input_tokens: 3_000,
  cache_creation_input_tokens: 2_000,
  cache_creation: { ephemeral_5m_input_tokens: 2_000, ephemeral_1h_input_tokens: 0 },
  output_tokens: 160,
  output_tokens_details: { thinking_tokens: 11 },
  server_tool_use: { web_search_requests: 3, web_fetch_requests: 0 },
} satisfies Usage;

const { cache_creation: _, output_tokens_details, server_tool_use, ...TOLD } = USED;
const AT_START = { ...USED, output_tokens: 1, output_tokens_details: null, server_tool_use: null };
const AT_END = { ...TOLD, output_tokens_details, server_tool_use };
const NO_PROMPT = { input_tokens: 0, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 };

/** What the events of a stream, and a whole answer, say of one and the same usage. */
export interface UsageForm {
  start: object;
  /** What each `message_delta` says. The last has the reason for the stop. */
  deltas: readonly object[];
  whole: object;
  /** What can be read of them, for sure: the bill, one of output and prompt, or nothing. Of a stream, and of the whole. */
  tells: 'all' | 'output' | 'prompt' | 'nothing';
  wholeTells: 'all' | 'output' | 'prompt' | 'nothing';
}

const strings = (usage: object) =>
  Object.fromEntries(
    Object.entries(usage).map(([kind, value]) => [kind, typeof value === 'number' ? String(value) : value]),
  );

/** As the API itself tells it. */
export const AS_THE_API: UsageForm = {
  start: AT_START,
  deltas: [AT_END],
  whole: USED,
  tells: 'all',
  wholeTells: 'all',
};

export const USAGE_FORMS: Record<string, UsageForm> = {
  'the prompt is 0 at the end': { ...AS_THE_API, deltas: [{ ...AT_END, ...NO_PROMPT }] },
  'searches are told, and then are 0': {
    ...AS_THE_API,
    deltas: [AT_END, { ...AT_END, server_tool_use: { web_search_requests: 0 } }],
  },
  'the prompt is 0 from the start': {
    start: { ...NO_PROMPT, output_tokens: 0 },
    deltas: [{ ...AT_END, ...NO_PROMPT }],
    whole: { ...USED, ...NO_PROMPT, cache_creation: null },
    tells: 'output',
    wholeTells: 'output',
  },
  'the output is 0 at the end': {
    ...AS_THE_API,
    deltas: [{ ...AT_END, output_tokens: 0, iterations: [] }],
    whole: { ...USED, output_tokens: 0, iterations: [] },
    tells: 'prompt',
    wholeTells: 'prompt',
  },
  'the output is 1 at the end, and the truth in no event': {
    ...AS_THE_API,
    deltas: [{ ...AT_END, output_tokens: 1 }],
    tells: 'prompt',
  },
  'the output comes in pieces that nobody has added up': {
    ...AS_THE_API,
    deltas: Array.from({ length: 8 }, () => ({ ...AT_END, output_tokens: 20 })),
    tells: 'prompt',
  },
  'no numbers': { start: {}, deltas: [{}], whole: {}, tells: 'nothing', wholeTells: 'nothing' },
  'strings behind the numbers': {
    ...AS_THE_API,
    deltas: [AT_END, strings(AT_END)],
    whole: strings(USED),
    wholeTells: 'nothing',
  },
};

const words = (from: number, to: number) => ({
  type: 'text',
  text: Array.from({ length: to - from }, (_unused, at) => `word${from + at} `).join(''),
});
const FOUND = [{ type: 'web_search_result', url: 'https://example.com', encrypted_content: 'aB3+'.repeat(20) }];
/** A search, as the API's own tool makes it, and its result. */
const search = (id: string) => [
  { type: 'server_tool_use', id, name: 'web_search', input: { query: 'sluices' } },
  { type: 'web_search_tool_result', tool_use_id: id, content: FOUND },
];
const FIRST = [...search('srvtoolu_1'), ...search('srvtoolu_2'), ...search('srvtoolu_3'), words(0, 20)];
const LAST = words(20, 80);

const deltaOf = (usage: object, stop_reason: string | null): string =>
  event('message_delta', { delta: { stop_reason, stop_sequence: null }, usage });

/** @returns the stream as it has come when half of the answer has */
export const begunStream = (form: UsageForm): string =>
  start({ usage: form.start }) + FIRST.map((one, at) => block(one, [], at)).join('');

/** @returns the whole stream. What comes before the last `message_delta` comes in the middle of the answer */
export const usageStream = (form: UsageForm): string =>
  begunStream(form) +
  form.deltas
    .slice(0, -1)
    .map((usage) => deltaOf(usage, null))
    .join('') +
  block({ type: 'text', text: '' }, [{ type: 'text_delta', text: LAST.text }], FIRST.length) +
  deltaOf(form.deltas.at(-1) ?? {}, 'end_turn') +
  event('message_stop');

/** @returns the whole answer */
export const usageMessage = (form: UsageForm) => message({ content: [...FIRST, LAST], usage: form.whole });
