import { isCount, type Usage } from '../../pricing/cost.ts';

/** What has come since the first prompt. */
export interface Timing {
  tokens: number;
  /** Milliseconds in which something may have been written that was not seen. */
  unseen_ms: number;
}

/** What of an answer was seen, and how long what was not seen may have been written: what an interrupted one costs. */
export interface Seen {
  /** Tokens of text, of the input of tool calls, and of what frames them, from above. */
  said: number;
  /** Tokens of the thinking that was shown, from above. */
  thinking: number;
  /** Milliseconds in which something may have been written that was not seen. */
  unseen_ms: number;
  /** Milliseconds of a silence at the end in which something may have been written. */
  silent_ms: number;
  /** Web searches that were begun. */
  searches: number;
  /** Uses of an advisor, and what had come before each of them, summed in tokens. */
  advised: number;
  advised_tokens: number;
  /** Uses of tools whose cost cannot be told from a stream: they run code, or call the API again. */
  opaque_uses: number;
  /** The prompts that the API read behind results of its own tools: what each had beyond the first one. */
  later_prompts: readonly Timing[];
  /** What had come when another model stepped in, for the last time. */
  handed_over?: Timing | undefined;
  /** Whether the final usage has come: `message_delta` with its stop reason. */
  final: boolean;
}

/** What an answer told about itself: what a ledger row and the log need. */
export interface Report {
  model: string | undefined;
  usage: Usage | undefined;
  stop_reason: string | null;
  /** Bytes of the whole body. */
  bytes: number;
  /** What an interrupted answer is settled by; absent where the whole of it tells. */
  seen?: Seen | undefined;
  /** The models that had a part in it, where one stepped in for another. */
  fallbacks?: readonly string[] | undefined;
  /** Whether the answer ended as the API ends it: `message_stop`, or a whole JSON body. */
  completed: boolean;
  /** The type of the `error` event or body, if that is how it ended. */
  error_type: string | undefined;
}

/** @returns what a whole answer, parsed, tells about itself; undefined is one that was not whole. */
export function reportOf(message: object | undefined, bytes: number): Report {
  const isMessage = field(message, 'type') === 'message';
  const usage = field(message, 'usage');
  return {
    model: string(field(message, 'model')),
    usage: checkedUsage(usage),
    stop_reason: string(field(message, 'stop_reason')) ?? null,
    bytes,
    fallbacks: fallbacksIn(field(message, 'content')),
    completed: isMessage,
    error_type: field(message, 'type') === 'error' ? errorType(message) : undefined,
  };
}

/** Members of a usage that have members of their own. */
const OBJECTS: ReadonlySet<string> = new Set(['cache_creation', 'server_tool_use', 'output_tokens_details']);

/** @returns that nothing was seen of an answer for so long. */
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

/** @returns what a usage says, without what can be no count: money hangs on it. */
export function checkedUsage(usage: unknown): Usage | undefined {
  if (typeof usage !== 'object' || usage === null) return undefined;
  const told = Object.entries(usage).filter(([kind, value]) => {
    if (value === null) return true;
    if (OBJECTS.has(kind)) return typeof value === 'object' && !Array.isArray(value);
    if (kind === 'iterations') return Array.isArray(value);
    return !kind.endsWith('_tokens') || isCount(value);
  });
  const checked: Record<string, unknown> = Object.fromEntries(told);
  if (Array.isArray(checked.iterations)) {
    checked.iterations = checked.iterations.filter((step) => typeof field(step, 'type') === 'string');
  }
  return checked;
}

/** @returns the models that had a part in an answer, where blocks tell that one stepped in for another. */
export function fallbacksIn(content: unknown): string[] | undefined {
  if (!Array.isArray(content)) return undefined;
  const hops = content.filter((block) => field(block, 'type') === 'fallback');
  const models = hops.flatMap((hop) =>
    ['from', 'to'].flatMap((side) => string(field(field(hop, side), 'model')) ?? []),
  );
  return models.length > 0 ? models : undefined;
}

/** @returns the type of an `error` event or body. */
export function errorType(body: unknown): string {
  return string(field(field(body, 'error'), 'type')) ?? 'api_error';
}

/** @returns a member of what may be an object. */
export function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

/** @returns the value if it is a string. */
export function string(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
