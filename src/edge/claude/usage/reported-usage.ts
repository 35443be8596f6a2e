/**
 * Merges the usage that a response reports, and determines whether it is final. All readers of responses use it, whatever the
 * form of the response.
 */

import { getMember, isObject, type JsonObject } from '../../kit/json/object.ts';
import { countPromptTokens, hasPromptTokens, isCount, toValidCountOrZero, type Usage } from '../pricing/cost.ts';

/** The counts of the prompt. They are taken from one report: those of two do not belong together. */
const PROMPT_COUNTS = ['input_tokens', 'cache_read_input_tokens', 'cache_creation_input_tokens', 'cache_creation'];
/** The cumulative fields: counts, and objects with such counts. */
const CUMULATIVE_COUNTS = ['output_tokens', 'output_tokens_details', 'server_tool_use'];
/** Members of a usage that have members of their own. */
const NESTED_FIELDS: ReadonlySet<string> = new Set(['cache_creation', 'output_tokens_details', 'server_tool_use']);

/**
 * Categories of refusals that the Claude API does not bill where they come before any output, since 2026-09-24
 * (https://platform.claude.com/docs/en/build-with-claude/refusals-and-fallback). Null is the refusal without a category.
 */
const UNBILLED_REFUSALS: ReadonlySet<unknown> = new Set(['cyber', 'general_harms', null]);

/** The number of letters from which a reported output is checked: fewer than one token for sixteen letters is impossible. */
const MIN_CHECKED_CHARACTERS = 200;
const MAX_CHARACTERS_PER_TOKEN = 16;

/**
 * The merged usage of all reports of one response. Those of the API are cumulative; the later lacks the cache split, speed and
 * geography. Behind a gateway, the later may contain 0 or an invalid count where the earlier has a valid one, so the larger one
 * is used.
 */
export class ReportedUsage {
  /** Whether a `message_start` or a whole message has arrived. Without it the prompt is not known. */
  #hasPrompt = false;
  /** Without nulls and members that cannot be counts, because costs are computed from it. */
  usage: Usage | undefined;
  /** The part of it that the present message has used. */
  #present: Usage | undefined;
  /** Whether the response has blocks. Then an output of 0 counts as not reported. */
  hasBlocks = false;
  /** Whether a report after the first contained the output. */
  #hasOutput = false;
  #isOtherModel = false;
  #isHandedOver = false;
  /** The usage of the messages before the current one: the API writes one in a stream, some gateways write several. */
  #before: Usage | undefined;

  /** Records that one more message begins in the same stream. It is billed beside those before it. */
  beginNextMessage(): void {
    this.#before = this.usage;
    this.usage = undefined;
    this.#present = undefined;
    this.#hasOutput = false;
  }

  /**
   * Takes the next report. Of a stream without `message_start`, only the output counts: a `message_delta` lacks what else decides
   * the price of the prompt.
   *
   * @returns the merged usage of all reports; undefined if no report contained any
   */
  addReport(report: unknown, source: 'message_start' | 'message_delta' | 'message'): Usage | undefined {
    this.#hasPrompt ||= source !== 'message_delta';
    if (!isObject(report)) return this.usage;
    const counts: JsonObject = Object.fromEntries(Object.entries(report).filter(isCountField));
    if (!this.#hasPrompt) for (const kind of PROMPT_COUNTS) delete counts[kind];
    if (Array.isArray(counts.iterations)) {
      counts.iterations = counts.iterations.filter((step) => typeof getMember(step, 'type') === 'string');
      if ((counts.iterations as JsonObject[]).length === 0) delete counts.iterations;
    }
    if (this.hasBlocks && counts.output_tokens === 0 && !counts.iterations) delete counts.output_tokens;
    this.#hasOutput ||= source !== 'message_start' && isCount(counts.output_tokens);
    const earlier: JsonObject = { ...this.#present };
    if (this.#isOtherModel)
      for (const kind of [...PROMPT_COUNTS, ...CUMULATIVE_COUNTS, 'iterations']) delete earlier[kind];
    this.#isOtherModel = false;
    const usage = { ...earlier, ...counts };
    for (const kind of CUMULATIVE_COUNTS)
      if (Object.hasOwn(counts, kind)) usage[kind] = mergeHigherCounts(earlier[kind], counts[kind]);
    const isLess = countPromptTokens(usage) < countPromptTokens(earlier);
    if (isLess) for (const kind of PROMPT_COUNTS) delete usage[kind];
    this.#present = { ...earlier, ...usage };
    this.usage = this.#before ? addUsages(this.#before, this.#present) : this.#present;
    return this.usage;
  }

  /**
   * @param letters how many came in deltas of texts and inputs
   * @returns whether a report after the first contained the output, and that output is plausible for so many letters
   */
  hasPlausibleOutput(letters: number): boolean {
    const { iterations, output_tokens } = this.usage ?? {};
    // With a fallback model or a compaction, the totals leave out part of the output and `iterations` has it, so the comparison
    // below would not hold.
    if (letters < MIN_CHECKED_CHARACTERS || this.#isHandedOver || iterations) return this.#hasOutput;
    return this.#hasOutput && toValidCountOrZero(output_tokens) * MAX_CHARACTERS_PER_TOKEN >= letters;
  }

  /** Begins the usage of another model. The next report contains only the usage of that model. */
  startNextModel(): void {
    this.#isOtherModel = true;
    this.#isHandedOver = true;
  }

  /**
   * @param end the whole message, or the `delta` of its `message_delta`
   * @returns whether it is a refusal that the Claude API does not bill. A category that is missing is not null
   */
  isUnbilledEnd(end: unknown): boolean {
    const details = getMember(end, 'stop_details');
    if (getMember(end, 'stop_reason') !== 'refusal' || getMember(details, 'type') !== 'refusal') return false;
    if (!UNBILLED_REFUSALS.has(getMember(details, 'category')) || this.hasBlocks || this.#isHandedOver) return false;
    const counts = [this.usage, ...(this.usage?.iterations ?? [])];
    return counts.every((one) => toValidCountOrZero(one?.output_tokens) <= 1);
  }
}

/** The fields of a report that show whether the response has ended. */
interface ReportWithEnd {
  usage: Usage | undefined;
  completed: boolean;
  seen?: { final: boolean } | undefined;
}

/**
 * @returns whether a response has reported all that determines its cost: its end, its output and the prompt. A prompt of 0
 * tokens counts as not reported.
 */
export function hasFinalUsage({ usage, completed, seen }: ReportWithEnd): boolean {
  if (!usage || !(seen ? seen.final : completed)) return false;
  return isCount(usage.input_tokens) && isCount(usage.output_tokens) && hasPromptTokens(usage);
}

/** @param isWithin whether these are members of members, which have none that count */
function mergeHigherCounts(earlier: unknown, later: unknown, isWithin = false): unknown {
  if (isCount(earlier)) return Math.max(earlier, toValidCountOrZero(later));
  if (isWithin || !isObject(earlier) || !isObject(later)) return later ?? earlier;
  return Object.fromEntries(
    Object.keys({ ...earlier, ...later }).map((name) => [name, mergeHigherCounts(earlier[name], later[name], true)]),
  );
}

function isCountField([kind, value]: [string, unknown]): boolean {
  if (value === null) return false;
  if (NESTED_FIELDS.has(kind)) return isObject(value);
  if (kind === 'iterations') return Array.isArray(value);
  return !kind.endsWith('_tokens') || isCount(value);
}

/** @returns what two messages have used together */
function addUsages(one: Usage, other: Usage): Usage {
  if (!one.iterations && !other.iterations) return addCounts(one, other) as Usage;
  // If only one message has `iterations`, add one for the other message, so that the list covers both.
  const iterations = [one, other].flatMap(({ iterations: own, ...counts }) => own ?? [{ ...counts, type: 'message' }]);
  return { ...(addCounts(one, other) as Usage), iterations };
}

/** @returns the sum of counts, member by member; of anything else the later */
function addCounts(earlier: unknown, later: unknown): unknown {
  if (isCount(earlier) && isCount(later)) return earlier + later;
  if (!isObject(earlier) || !isObject(later)) return later ?? earlier;
  return Object.fromEntries(
    Object.keys({ ...earlier, ...later }).map((name) => [name, addCounts(earlier[name], later[name])]),
  );
}
