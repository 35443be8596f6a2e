/** Messages as a stream may tell them, and what the official client makes of their events. */
import Anthropic from '@anthropic-ai/sdk';
import fc from 'fast-check';
import type { Json } from '#edge/kit/json/object.ts';
import { sse, eventsOf as sseOf } from './wire.ts';

const said = fc.string();
const some = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: null });
const saying = (type: string, name: string, more: fc.Arbitrary<Json> = fc.constant({})) =>
  fc.array(
    fc.tuple(said, more).map(([text, members]) => ({ type, [name]: text, ...members })),
    { maxLength: 4 },
  );
const estimated = fc.constantFrom<Json[]>({}, { estimated_tokens: null }, { estimated_tokens: 50 });
const citation = { type: 'char_location', cited_text: 'a', document_index: 0 };
const input = fc.dictionary(said, fc.oneof(said, fc.nat(), fc.boolean())).map((value) => JSON.stringify(value));
const toolTypes = ['tool_use', 'server_tool_use', 'mcp_tool_use'];

/** A block as its start, and its deltas. */
const block: fc.Arbitrary<[Json, Json[]]> = fc.oneof(
  saying('text_delta', 'text').map((deltas): [Json, Json[]] => [{ type: 'text', text: '', citations: null }, deltas]),
  fc
    .nat(2)
    .map((n): [Json, Json[]] => [
      { type: 'text', text: 'a', citations: null },
      Array.from({ length: n }, () => ({ type: 'citations_delta', citation })),
    ]),
  fc
    .tuple(saying('thinking_delta', 'thinking', estimated), saying('signature_delta', 'signature'))
    .map(([deltas, signed]): [Json, Json[]] => [
      { type: 'thinking', thinking: '', signature: '' },
      [...deltas, ...signed],
    ]),
  said.map((data): [Json, Json[]] => [{ type: 'redacted_thinking', data }, []]),
  fc
    .tuple(fc.constantFrom(...toolTypes), input, fc.nat(9))
    .map(([type, json, cut]): [Json, Json[]] => [
      { type, id: 'tu', name: 'n', input: {} },
      [json.slice(0, cut), json.slice(cut)].map((partial_json) => ({ type: 'input_json_delta', partial_json })),
    ]),
  fc
    .array(
      fc.oneof(
        fc.record({ type: fc.constant('compaction_delta'), content: some(said) }),
        fc.record({ type: fc.constant('compaction_delta'), content: some(said), encrypted_content: some(said) }),
      ),
      { maxLength: 2 },
    )
    .map((deltas): [Json, Json[]] => [{ type: 'compaction', content: 'from before', encrypted_content: null }, deltas]),
  said.map((model): [Json, Json[]] => [
    { type: 'fallback', from: { model: 'm' }, to: { model }, trigger: { type: 'refusal', category: null } },
    [],
  ]),
);

const transformation = fc.constantFrom(
  { type: 'thinking_dropped', path: 'messages.1.content.0', reason: 'prefix_binding_mismatch' },
  { type: 'thinking_mismatch_allowed', path: 'messages.3.content.0', reason: 'prefix_binding_mismatch' },
);
/** Counts as the API reports them: what `message_delta` says is no less than what `message_start` has said. */
const first = fc.nat(999);
const cumulative = fc.integer({ min: 1_000, max: 1_000_000 });

/** What both `message_start` and `message_delta` may have. */
const beside = {
  context_management: some(fc.constant({ applied_edits: [{ type: 'clear_thinking_20251015' }] })),
  input_transformations: some(fc.array(transformation, { maxLength: 2 })),
};
const started = fc.record(
  {
    ...beside,
    container: fc.constant(null),
    usage: fc.record({ input_tokens: first, output_tokens: first, service_tier: fc.constant('standard') }),
  },
  { requiredKeys: ['usage'] },
);
const ended = fc.record({
  more: fc.record(beside, { requiredKeys: [] }),
  delta: fc.record(
    {
      stop_reason: fc.constantFrom('end_turn', 'tool_use', 'compaction'),
      stop_sequence: some(said),
      stop_details: some(fc.constant({ type: 'refusal', category: null, explanation: null })),
      container: some(fc.constant({ id: 'c', expires_at: 'then', skills: null })),
    },
    { requiredKeys: ['stop_reason', 'stop_sequence', 'stop_details'] },
  ),
  usage: fc.record(
    {
      output_tokens: cumulative,
      input_tokens: some(cumulative),
      cache_creation_input_tokens: some(cumulative),
      cache_read_input_tokens: some(cumulative),
      server_tool_use: some(fc.constant({ web_search_requests: 1 })),
      iterations: some(fc.constant([{ type: 'compaction', output_tokens: 3 }])),
      output_tokens_details: some(fc.constant({ thinking_tokens: 2 })),
      fallback_credit: some(fc.constant({ status: 'redeemed' })),
    },
    { requiredKeys: ['output_tokens'] },
  ),
});

/** @returns the events of a message that is made of these parts */
function eventsOf([start, blocks, { more, delta, usage }]: [Json, [Json, Json[]][], Record<string, Json>]): Json[] {
  const message = { id: 'msg_1', type: 'message', role: 'assistant', model: 'm', content: [], stop_reason: null };
  return [
    { type: 'message_start', message: { ...message, stop_sequence: null, ...start } },
    ...blocks.flatMap(([content_block, deltas], index) => [
      { type: 'content_block_start', index, content_block },
      ...deltas.map((one) => ({ type: 'content_block_delta', index, delta: one })),
      { type: 'content_block_stop', index },
    ]),
    { type: 'message_delta', ...more, delta, usage },
    { type: 'message_stop' },
  ];
}

/** The events of a message. */
export const madeMessage: fc.Arbitrary<Json[]> = fc
  .tuple(started, fc.array(block, { maxLength: 4 }), ended)
  .map((parts) => eventsOf(parts as Parameters<typeof eventsOf>[0]));

/** What the official client makes of events. */
export async function finalMessage(events: readonly Json[]): Promise<unknown> {
  const fetch = async () => sse(sseOf(events));
  const client = new Anthropic({ apiKey: 'k', baseURL: 'https://api.test', fetch, maxRetries: 0 });
  const request = { model: 'm', max_tokens: 1, messages: [{ role: 'user' as const, content: 'Hello' }] };
  const message = await client.beta.messages.stream(request).finalMessage();
  // The client adds what it has parsed.
  return JSON.parse(JSON.stringify(message, (name, value) => (name === 'parsed_output' ? undefined : value)));
}
