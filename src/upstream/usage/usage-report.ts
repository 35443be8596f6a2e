import { memberOf, stringOrUndefined } from '../../json/object.ts';
import { isCount, type Usage } from '../../pricing/cost.ts';
import type { MadeId } from './made-ids.ts';

/** What had come at one moment of an answer, since its first prompt. */
export interface Timing {
  tokens: number;
  /** Milliseconds in which something may have been written that was not seen. */
  unseen_ms: number;
}

/** What was seen of an answer, and for how long output may have been written that was not seen. An interrupted one is priced by it. */
export interface Seen {
  /** Tokens of text and tool calls, with what frames them: an upper bound. */
  said: number;
  /** Tokens of the thinking that was shown: an upper bound. */
  thinking: number;
  /** Milliseconds in which something may have been written that was not seen. */
  unseen_ms: number;
  /** Milliseconds of silence at the end in which something may have been written. */
  silent_ms: number;
  /** Web searches that were begun. */
  searches: number;
  /** Uses of an advisor; and the tokens that had come before each use, as a sum. */
  advised: number;
  advised_tokens: number;
  /** Uses of tools whose cost a stream does not tell: they run code, or call the API again. */
  opaque_uses: number;
  /** After a result of its own tools the API reads the prompt again: how much longer each of these prompts was than the first. */
  later_prompts: readonly Timing[];
  /** What had come when another model took over, for the last time. */
  handed_over?: Timing | undefined;
  /** Whether the final usage has come: `message_delta` with its stop reason. */
  final: boolean;
}

/** What an answer tells about itself, for the ledger and the log. */
export interface Report {
  model: string | undefined;
  usage: Usage | undefined;
  stop_reason: string | null;
  /** Length of the body in bytes. */
  bytes: number;
  /** What an interrupted answer is settled by; absent if its end has come, which tells the usage. */
  seen?: Seen | undefined;
  /** The models that have written it, if one took over from another. */
  fallbacks?: readonly string[] | undefined;
  /** What the answer has made and given out the ids of, where that was asked for. */
  made?: readonly MadeId[] | undefined;
  /** Whether the answer ended as the API ends it: with `message_stop`, or as a complete JSON message. */
  completed: boolean;
  /** The type of the `error` event or body, if that is how it ended. */
  error_type: string | undefined;
}

/**
 * @param message the parsed body; undefined if it could not be parsed
 * @param bytes the length of the body
 * @returns what a buffered answer tells about itself
 */
export function reportOf(message: object | undefined, bytes: number): Report {
  const isMessage = memberOf(message, 'type') === 'message';
  const usage = memberOf(message, 'usage');
  return {
    model: stringOrUndefined(memberOf(message, 'model')),
    usage: checkedUsage(usage),
    stop_reason: stringOrUndefined(memberOf(message, 'stop_reason')) ?? null,
    bytes,
    fallbacks: fallbacksIn(memberOf(message, 'content')),
    completed: isMessage,
    error_type: memberOf(message, 'type') === 'error' ? errorType(message) : undefined,
  };
}

/** Members of a usage that have members of their own. */
const OBJECTS: ReadonlySet<string> = new Set(['cache_creation', 'server_tool_use', 'output_tokens_details']);

/** @returns the `Seen` of an answer of which nothing came for so many milliseconds. */
export function nothingSeen(unseen_ms: number): Seen {
  return {
    said: 0,
    thinking: 0,
    unseen_ms,
    silent_ms: 0,
    searches: 0,
    advised: 0,
    advised_tokens: 0,
    opaque_uses: 0,
    later_prompts: [],
    final: false,
  };
}

/** @returns a usage without the members that cannot be counts: prices are made from it. */
export function checkedUsage(usage: unknown): Usage | undefined {
  if (typeof usage !== 'object' || usage === null) return undefined;
  const members = Object.entries(usage);
  // Almost every usage is as it should be, and is taken as it is.
  if (!Object.hasOwn(usage, 'iterations') && members.every(canCount)) return usage as Usage;
  const checked: Record<string, unknown> = Object.fromEntries(members.filter(canCount));
  if (Array.isArray(checked.iterations)) {
    checked.iterations = checked.iterations.filter((step) => typeof memberOf(step, 'type') === 'string');
  }
  return checked;
}

function canCount([kind, value]: [string, unknown]): boolean {
  if (value === null) return true;
  if (OBJECTS.has(kind)) return typeof value === 'object' && !Array.isArray(value);
  if (kind === 'iterations') return Array.isArray(value);
  return !kind.endsWith('_tokens') || isCount(value);
}

/** @returns a usage with a later one: its values win where they say something, since `null` says nothing. */
export function mergedUsage(earlier: Usage | undefined, later: Usage): Usage {
  const given = Object.values(later).includes(null)
    ? Object.fromEntries(Object.entries(later).filter(([, value]) => value !== null))
    : later;
  return earlier === undefined ? given : { ...earlier, ...given };
}

/** @returns the models that have written an answer, if its blocks tell that one took over from another. */
export function fallbacksIn(content: unknown): string[] | undefined {
  if (!Array.isArray(content)) return undefined;
  const switches = content.filter((block) => memberOf(block, 'type') === 'fallback');
  const models = switches.flatMap((one) =>
    ['from', 'to'].flatMap((side) => stringOrUndefined(memberOf(memberOf(one, side), 'model')) ?? []),
  );
  return models.length > 0 ? models : undefined;
}

/** @returns the type of an `error` event or body. */
export function errorType(body: unknown): string {
  return stringOrUndefined(memberOf(memberOf(body, 'error'), 'type')) ?? 'api_error';
}
