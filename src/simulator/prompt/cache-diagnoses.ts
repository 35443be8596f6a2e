import { isJsonObject, type Json, type JsonObject } from '../../api-rules/json.ts';
import { computeDigest, type Digest, digestToHex } from '../random/digest.ts';
import type { MessageRequest, RequestMessage } from '../request/message-request.ts';
import { setMostRecent } from '../store/set-most-recent.ts';
import type { CacheUsage } from './prompt-cache.ts';

/** The fingerprint with which a later request is compared. */
interface PromptFingerprint {
  model: string;
  system: string;
  tools: string;
  /** How many messages there were, and the digest of all of them. */
  messageCount: number;
  messages: string;
  /** Other parameters that change the prompt. */
  others: string;
  /** The tokens that were read from the cache or written to it. */
  cachedTokens: number;
}

/** A parameter that differs, in the order in which the API looks for it. */
const CHANGES = ['model', 'system', 'tools'] as const;
const MAX_FINGERPRINTS = 10_000;

function digestOf(value: unknown, before?: Digest): Digest {
  return computeDigest(JSON.stringify(value), before);
}

/** Breakpoints are no part of a prompt. */
function withoutBreakpoints(blocks: readonly JsonObject[]): JsonObject[] {
  return blocks.map(({ cache_control: _, ...rest }) => rest);
}

function digestMessages(messages: readonly RequestMessage[]): string {
  const digest = messages.reduce<Digest | undefined>(
    (before, { role, blocks }) => digestOf([role, withoutBreakpoints(blocks)], before),
    undefined,
  );
  return digest === undefined ? '' : digestToHex(digest);
}

function createFingerprint(request: MessageRequest, { read, written5m, written1h }: CacheUsage): PromptFingerprint {
  const { model, speed, system, tools, messages, thinking, toolChoice } = request;
  return {
    model: `${model.id} ${speed ?? 'standard'}`,
    system: digestToHex(digestOf(withoutBreakpoints(system))),
    tools: digestToHex(digestOf(withoutBreakpoints(tools))),
    messageCount: messages.length,
    messages: digestMessages(messages),
    others: digestToHex(digestOf([thinking, toolChoice])),
    cachedTokens: read + written5m + written1h,
  };
}

/** Explains why a request could not read what the previous one had cached. */
export class CacheDiagnoses {
  readonly #fingerprints = new Map<string, PromptFingerprint>();

  /**
   * Compares a request with the one that it names, and stores it for a later one. Requests without `diagnostics` are not stored.
   *
   * @param params the request's `diagnostics`
   * @param owner whose messages can be named
   * @param id of the answer
   * @returns `diagnostics` of the answer; null if none was asked for, or the prefix is unchanged
   */
  diagnose(
    request: MessageRequest,
    usage: CacheUsage,
    params: Json | undefined,
    { owner, id }: { owner: string; id: string },
  ): JsonObject | null {
    if (!isJsonObject(params)) return null;
    const current = createFingerprint(request, usage);
    setMostRecent(this.#fingerprints, `${owner} ${id}`, current, MAX_FINGERPRINTS);
    const { previous_message_id: previousId } = params;
    if (typeof previousId !== 'string') return null;
    const reason = findCacheMissReason(this.#fingerprints.get(`${owner} ${previousId}`), current, request);
    return reason === undefined ? null : { cache_miss_reason: reason };
  }
}

function findCacheMissReason(
  previous: PromptFingerprint | undefined,
  current: PromptFingerprint,
  { messages }: MessageRequest,
): JsonObject | undefined {
  if (previous === undefined) return { type: 'previous_message_not_found' };
  const changed = CHANGES.find((name) => previous[name] !== current[name]);
  const { messageCount, cachedTokens } = previous;
  const tokens = { cache_missed_input_tokens: cachedTokens };
  if (changed !== undefined) return { type: `${changed}_changed`, ...tokens };
  const earlier = messages.length < messageCount ? undefined : digestMessages(messages.slice(0, messageCount));
  if (earlier !== previous.messages) return { type: 'messages_changed', ...tokens };
  return previous.others === current.others ? undefined : { type: 'unavailable' };
}
