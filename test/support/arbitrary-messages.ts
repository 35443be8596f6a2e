/** Messages as a stream may tell them, and what the official client makes of their events. */
import Anthropic from '@anthropic-ai/sdk';
import fc from 'fast-check';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { sseEvents as sseOf, sseResponse } from './wire.ts';

const arbitraryText = fc.string();
const arbitraryOptional = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: null });
const arbitraryCall = (type: string, name: string, more: fc.Arbitrary<JsonObject> = fc.constant({})) =>
  fc.array(
    fc.tuple(arbitraryText, more).map(([text, members]) => ({ type, [name]: text, ...members })),
    { maxLength: 4 },
  );
const arbitraryEstimate = fc.constantFrom<JsonObject[]>({}, { estimated_tokens: null }, { estimated_tokens: 50 });
const citation = { type: 'char_location', cited_text: 'a', document_index: 0 };
const input = fc
  .dictionary(arbitraryText, fc.oneof(arbitraryText, fc.nat(), fc.boolean()))
  .map((value) => JSON.stringify(value));
const arbitraryToolTypes = ['tool_use', 'server_tool_use', 'mcp_tool_use'];

/** A block as its start, and its deltas. */
const arbitraryBlock: fc.Arbitrary<[JsonObject, JsonObject[]]> = fc.oneof(
  arbitraryCall('text_delta', 'text').map((deltas): [JsonObject, JsonObject[]] => [
    { type: 'text', text: '', citations: null },
    deltas,
  ]),
  fc
    .nat(2)
    .map((n): [JsonObject, JsonObject[]] => [
      { type: 'text', text: 'a', citations: null },
      Array.from({ length: n }, () => ({ type: 'citations_delta', citation })),
    ]),
  fc
    .tuple(
      arbitraryCall('thinking_delta', 'thinking', arbitraryEstimate),
      arbitraryCall('signature_delta', 'signature'),
    )
    .map(([deltas, signed]): [JsonObject, JsonObject[]] => [
      { type: 'thinking', thinking: '', signature: '' },
      [...deltas, ...signed],
    ]),
  arbitraryText.map((data): [JsonObject, JsonObject[]] => [{ type: 'redacted_thinking', data }, []]),
  fc
    .tuple(fc.constantFrom(...arbitraryToolTypes), input, fc.nat(9))
    .map(([type, json, cut]): [JsonObject, JsonObject[]] => [
      { type, id: 'tu', name: 'n', input: {} },
      [json.slice(0, cut), json.slice(cut)].map((partial_json) => ({ type: 'input_json_delta', partial_json })),
    ]),
  fc
    .array(
      fc.oneof(
        fc.record({ type: fc.constant('compaction_delta'), content: arbitraryOptional(arbitraryText) }),
        fc.record({
          type: fc.constant('compaction_delta'),
          content: arbitraryOptional(arbitraryText),
          encrypted_content: arbitraryOptional(arbitraryText),
        }),
      ),
      { maxLength: 2 },
    )
    .map((deltas): [JsonObject, JsonObject[]] => [
      { type: 'compaction', content: 'from before', encrypted_content: null },
      deltas,
    ]),
  arbitraryText.map((model): [JsonObject, JsonObject[]] => [
    { type: 'fallback', from: { model: 'm' }, to: { model }, trigger: { type: 'refusal', category: null } },
    [],
  ]),
);

const arbitraryTransformation = fc.constantFrom(
  { type: 'thinking_dropped', path: 'messages.1.content.0', reason: 'prefix_binding_mismatch' },
  { type: 'thinking_mismatch_allowed', path: 'messages.3.content.0', reason: 'prefix_binding_mismatch' },
);
/** Counts as the API reports them: what `message_delta` says is no less than what `message_start` has said. */
const arbitraryFirstUsage = fc.nat(999);
const arbitraryCumulativeUsage = fc.integer({ min: 1_000, max: 1_000_000 });

/** What both `message_start` and `message_delta` may have. */
const arbitraryExtraMembers = {
  context_management: arbitraryOptional(fc.constant({ applied_edits: [{ type: 'clear_thinking_20251015' }] })),
  input_transformations: arbitraryOptional(fc.array(arbitraryTransformation, { maxLength: 2 })),
};
const arbitraryStart = fc.record(
  {
    ...arbitraryExtraMembers,
    container: fc.constant(null),
    usage: fc.record({
      input_tokens: arbitraryFirstUsage,
      output_tokens: arbitraryFirstUsage,
      service_tier: fc.constant('standard'),
    }),
  },
  { requiredKeys: ['usage'] },
);
const arbitraryEnd = fc.record({
  more: fc.record(arbitraryExtraMembers, { requiredKeys: [] }),
  delta: fc.record(
    {
      stop_reason: fc.constantFrom('end_turn', 'tool_use', 'compaction'),
      stop_sequence: arbitraryOptional(arbitraryText),
      stop_details: arbitraryOptional(fc.constant({ type: 'refusal', category: null, explanation: null })),
      container: arbitraryOptional(fc.constant({ id: 'c', expires_at: 'then', skills: null })),
    },
    { requiredKeys: ['stop_reason', 'stop_sequence', 'stop_details'] },
  ),
  usage: fc.record(
    {
      output_tokens: arbitraryCumulativeUsage,
      input_tokens: arbitraryOptional(arbitraryCumulativeUsage),
      cache_creation_input_tokens: arbitraryOptional(arbitraryCumulativeUsage),
      cache_read_input_tokens: arbitraryOptional(arbitraryCumulativeUsage),
      server_tool_use: arbitraryOptional(fc.constant({ web_search_requests: 1 })),
      iterations: arbitraryOptional(fc.constant([{ type: 'compaction', output_tokens: 3 }])),
      output_tokens_details: arbitraryOptional(fc.constant({ thinking_tokens: 2 })),
      fallback_credit: arbitraryOptional(fc.constant({ status: 'redeemed' })),
    },
    { requiredKeys: ['output_tokens'] },
  ),
});

/** @returns the events of a message that is made of these parts */
function createMessageEvents([start, blocks, { more, delta, usage }]: [
  JsonObject,
  [JsonObject, JsonObject[]][],
  Record<string, JsonObject>,
]): JsonObject[] {
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
export const arbitraryMessageEvents: fc.Arbitrary<JsonObject[]> = fc
  .tuple(arbitraryStart, fc.array(arbitraryBlock, { maxLength: 4 }), arbitraryEnd)
  .map((parts) => createMessageEvents(parts as Parameters<typeof createMessageEvents>[0]));

/** What the official client makes of events. */
export async function readFinalMessage(events: readonly JsonObject[]): Promise<unknown> {
  const fetch = async () => sseResponse(sseOf(events));
  const client = new Anthropic({ apiKey: 'k', baseURL: 'https://api.test', fetch, maxRetries: 0 });
  const request = { model: 'm', max_tokens: 1, messages: [{ role: 'user' as const, content: 'Hello' }] };
  const message = await client.beta.messages.stream(request).finalMessage();
  // The client adds what it has parsed.
  return JSON.parse(JSON.stringify(message, (name, value) => (name === 'parsed_output' ? undefined : value)));
}
