/** How gateways that speak the API's language tell what an answer has used, where it is not as the API tells it. */

import type { Usage } from '#edge/claude/pricing/cost.ts';
import { contentBlock, messageStart, messageWith, sseEvent } from '#test/support/wire.ts';

/** What the answer has used in truth: the bill. */
export const ACTUAL_USAGE = {
  input_tokens: 15_000,
  cache_read_input_tokens: 3_000,
  cache_creation_input_tokens: 2_000,
  cache_creation: { ephemeral_5m_input_tokens: 2_000, ephemeral_1h_input_tokens: 0 },
  output_tokens: 160,
  output_tokens_details: { thinking_tokens: 11 },
  server_tool_use: { web_search_requests: 3, web_fetch_requests: 0 },
} satisfies Usage;

const { cache_creation: _, output_tokens_details, server_tool_use, ...TOLD } = ACTUAL_USAGE;
const START_USAGE = { ...ACTUAL_USAGE, output_tokens: 1, output_tokens_details: null, server_tool_use: null };
const END_USAGE = { ...TOLD, output_tokens_details, server_tool_use };
const USAGE_WITHOUT_PROMPT = { input_tokens: 0, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 };

/** What the events of a stream, and a whole answer, say of one and the same usage. */
export interface UsageForm {
  /** Absent if no `message_start` comes. */
  start?: object | undefined;
  /** What each `message_delta` says. The last has the reason for the stop. */
  deltas: readonly object[];
  wholeUsage: object;
  /** What can be read of them, for sure: the bill, one of output and prompt, or nothing. Of a stream, and of the whole. */
  streamReports: 'all' | 'output' | 'prompt' | 'nothing';
  wholeReports: 'all' | 'output' | 'prompt' | 'nothing';
}

const stringifyNumbers = (usage: object) =>
  Object.fromEntries(
    Object.entries(usage).map(([kind, value]) => [kind, typeof value === 'number' ? String(value) : value]),
  );

/** As the API itself tells it. */
export const API_FORM: UsageForm = {
  start: START_USAGE,
  deltas: [END_USAGE],
  wholeUsage: ACTUAL_USAGE,
  streamReports: 'all',
  wholeReports: 'all',
};

export const USAGE_FORMS: Record<string, UsageForm> = {
  'the prompt is 0 at the end': { ...API_FORM, deltas: [{ ...END_USAGE, ...USAGE_WITHOUT_PROMPT }] },
  'searches are told, and then are 0': {
    ...API_FORM,
    deltas: [END_USAGE, { ...END_USAGE, server_tool_use: { web_search_requests: 0 } }],
  },
  'the prompt is 0 from the start': {
    start: { ...USAGE_WITHOUT_PROMPT, output_tokens: 0 },
    deltas: [{ ...END_USAGE, ...USAGE_WITHOUT_PROMPT }],
    wholeUsage: { ...ACTUAL_USAGE, ...USAGE_WITHOUT_PROMPT, cache_creation: null },
    streamReports: 'output',
    wholeReports: 'output',
  },
  'the output is 0 at the end': {
    ...API_FORM,
    deltas: [{ ...END_USAGE, output_tokens: 0, iterations: [] }],
    wholeUsage: { ...ACTUAL_USAGE, output_tokens: 0, iterations: [] },
    streamReports: 'prompt',
    wholeReports: 'prompt',
  },
  'the output is 1 at the end, and the truth in no event': {
    ...API_FORM,
    deltas: [{ ...END_USAGE, output_tokens: 1 }],
    streamReports: 'prompt',
  },
  'the output comes in pieces that nobody has added up': {
    ...API_FORM,
    deltas: Array.from({ length: 8 }, () => ({ ...END_USAGE, output_tokens: 20 })),
    streamReports: 'prompt',
  },
  'no numbers': { start: {}, deltas: [{}], wholeUsage: {}, streamReports: 'nothing', wholeReports: 'nothing' },
  'no event begins it, and the cached prompt is in none': {
    ...API_FORM,
    start: undefined,
    deltas: [{ input_tokens: 15_000, output_tokens: 160, output_tokens_details, server_tool_use }],
    streamReports: 'output',
  },
  'strings behind the numbers': {
    ...API_FORM,
    deltas: [END_USAGE, stringifyNumbers(END_USAGE)],
    wholeUsage: stringifyNumbers(ACTUAL_USAGE),
    wholeReports: 'nothing',
  },
};

const createWords = (from: number, to: number) => ({
  type: 'text',
  text: Array.from({ length: to - from }, (_unused, at) => `word${from + at} `).join(''),
});
const SEARCH_RESULTS = [
  { type: 'web_search_result', url: 'https://example.com', encrypted_content: 'aB3+'.repeat(20) },
];
/** A search, as the API's own tool makes it, and its result. */
const createSearchBlocks = (id: string) => [
  { type: 'server_tool_use', id, name: 'web_search', input: { query: 'sluices' } },
  { type: 'web_search_tool_result', tool_use_id: id, content: SEARCH_RESULTS },
];
const FIRST_EVENTS = [
  ...createSearchBlocks('srvtoolu_1'),
  ...createSearchBlocks('srvtoolu_2'),
  ...createSearchBlocks('srvtoolu_3'),
  createWords(0, 20),
];
const LAST_EVENTS = createWords(20, 80);

const createMessageDelta = (usage: object, stop_reason: string | null): string =>
  sseEvent('message_delta', { delta: { stop_reason, stop_sequence: null }, usage });

/** @returns the stream as it has come when half of the answer has */
export const createHalfStream = (form: UsageForm): string =>
  (form.start ? messageStart({ usage: form.start }) : '') +
  FIRST_EVENTS.map((one, at) => contentBlock(one, [], at)).join('');

/** @returns the whole stream. What comes before the last `message_delta` comes in the middle of the answer */
export const createUsageStream = (form: UsageForm): string =>
  createHalfStream(form) +
  form.deltas
    .slice(0, -1)
    .map((usage) => createMessageDelta(usage, null))
    .join('') +
  contentBlock({ type: 'text', text: '' }, [{ type: 'text_delta', text: LAST_EVENTS.text }], FIRST_EVENTS.length) +
  createMessageDelta(form.deltas.at(-1) ?? {}, 'end_turn') +
  sseEvent('message_stop');

/** @returns the whole answer */
export const createUsageMessage = (form: UsageForm) =>
  messageWith({ content: [...FIRST_EVENTS, LAST_EVENTS], usage: form.wholeUsage });
