import { type ErrorType, isErrorType } from '../../kit/http/errors.ts';
import { getMember, isObject, toStringOrUndefined } from '../../kit/json/object.ts';
import { isCount, type Usage } from '../pricing/cost.ts';
import { computeTextTokenUpperBound } from '../pricing/token-upper-bound.ts';
import type { CreatedId } from './created-ids.ts';
import { isThinkingType } from './hidden-output.ts';
import { ReportedUsage } from './reported-usage.ts';

/** The received output of a response at one moment, since its first prompt. */
export interface OutputSnapshot {
  tokens: number;
  /** Milliseconds in which unseen output may have been written. */
  unseen_ms: number;
}

/**
 * The seen part of an answer, and for how long unseen output may have been written. An interrupted answer is priced by it.
 */
export interface ObservedPart {
  /** Tokens of text and tool calls, with what frames them: an upper bound. */
  said: number;
  /** Tokens of the thinking that was shown: an upper bound. */
  thinking: number;
  /** Milliseconds in which something may have been written that was not seen. */
  unseen_ms: number;
  /** Milliseconds of silence at the end, in which output may have been written. */
  silent_ms: number;
  /** Milliseconds since the last event or ping, in which it is unknown what the API did. */
  lost_ms: number;
  /** Milliseconds since the last event that is no ping: another model may have begun in them. */
  quiet_ms: number;
  /** Whether the last event has ended a block, behind which another model may have begun. */
  is_between?: boolean | undefined;
  /** Whether the last event is a use of an advisor, whose output is not observed until its result arrives. */
  is_advising?: boolean | undefined;
  /** Uses of the API's own tools that have begun. */
  uses: number;
  /** The uses whose result has not arrived. */
  running_uses: number;
  /** The names of their tools. */
  running_tools?: readonly string[] | undefined;
  /** Whether the last event is such a use: in the silence behind it the tool runs. */
  runs_tool?: boolean | undefined;
  /** The most tokens that the result of one of them has added to the prompt. */
  longest_result: number;
  /** Whether the API has run code for the model. No `max_uses` limits how often it does. */
  runs_code: boolean;
  /** Web searches that have begun. */
  searches: number;
  /** Uses of an advisor, and the sum of the tokens that had arrived before each use. */
  advised: number;
  advised_tokens: number;
  /** Uses of unknown tools, whose cost cannot be derived. */
  opaque_uses: number;
  /**
   * The later prompts, by how much longer each is than the first. After results of its own tools the API reads the prompt
   * again.
   */
  later_prompts: readonly OutputSnapshot[];
  /** The output received until another model last took over. */
  handed_over?: OutputSnapshot | undefined;
  /** Whether the final usage has arrived: `message_delta` with its stop reason. */
  final: boolean;
}

/** The report of a response, for the ledger and the log. */
export interface ResponseReport {
  model: string | undefined;
  usage: Usage | undefined;
  /** Whether the reported output is too low for the number of its letters, so that the letters determine the output. */
  raised_output?: boolean | undefined;
  stop_reason: string | null;
  /** Whether it is a refusal that the Claude API does not bill. Other upstreams may. */
  unbilled?: boolean | undefined;
  /** Length of the body in bytes. */
  bytes: number;
  /** The observations by which an interrupted response is settled; absent if its end has arrived, which reports the usage. */
  seen?: ObservedPart | undefined;
  /** The models before and after each switch to a fallback model: two for each switch. Absent if there was none. */
  handoverModels?: readonly string[] | undefined;
  /** The tokens of the longest result of each of the API's own tools, by the tool's name. */
  results?: Readonly<Record<string, number>> | undefined;
  /** The length of the signatures and the redacted data of its thinking. */
  signatureLength?: number | undefined;
  /** The ids of the container, thread and files that the response has created, if they were to be read. */
  createdIds?: readonly CreatedId[] | undefined;
  /** Whether the answer ended as the API ends it: with `message_stop`, or as a complete JSON message. */
  completed: boolean;
  /** The type of the `error` event or body, if that is how it ended. */
  error_type: string | undefined;
  /** The API's own sentence in the error, if it is known. */
  error_message?: string | undefined;
}

/**
 * @param message the parsed body; undefined if it could not be parsed
 * @param bytes the length of the body
 * @returns what a buffered answer reports about itself
 */
export function createResponseReport(message: object | undefined, bytes: number): ResponseReport {
  const isMessage = getMember(message, 'type') === 'message';
  const content = getMember(message, 'content');
  const reported = new ReportedUsage();
  reported.hasBlocks = Array.isArray(content) && content.length > 0;
  const reportedUsage = reported.addReport(getMember(message, 'usage'), 'message');
  const letters = joinWrittenText(content);
  const isRaised = isCount(reportedUsage?.output_tokens) && !reported.hasPlausibleOutput(letters.length);
  const usage = isRaised
    ? { ...reportedUsage, output_tokens: Math.ceil(computeTextTokenUpperBound(letters)) }
    : reportedUsage;
  return {
    model: toStringOrUndefined(getMember(message, 'model')),
    usage,
    ...(isRaised && { raised_output: true }),
    stop_reason: toStringOrUndefined(getMember(message, 'stop_reason')) ?? null,
    ...(reported.isUnbilledEnd(message) && { unbilled: true }),
    bytes,
    handoverModels: listModelsOfFallbackAnswer(content),
    results: findLongestToolResults(content),
    signatureLength: computeSignatureLength(content),
    completed: isMessage,
    error_type: getMember(message, 'type') === 'error' ? parseErrorType(message) : undefined,
  };
}

/** @returns the texts and the inputs of calls in the content of a message */
function joinWrittenText(content: unknown): string {
  if (!Array.isArray(content)) return '';
  const texts = content.map((block) => {
    const type = getMember(block, 'type');
    if (type === 'text') return toStringOrUndefined(getMember(block, 'text')) ?? '';
    return type === 'tool_use' ? (JSON.stringify(getMember(block, 'input')) ?? '') : '';
  });
  return texts.join('');
}

/** @returns the `seen` of a response of which nothing has arrived. @param unseen_ms the milliseconds that it has run */
export function createUnobserved(unseen_ms: number): ObservedPart {
  return {
    said: 0,
    thinking: 0,
    unseen_ms,
    silent_ms: 0,
    lost_ms: unseen_ms,
    quiet_ms: unseen_ms,
    uses: 0,
    running_uses: 0,
    longest_result: 0,
    runs_code: false,
    searches: 0,
    advised: 0,
    advised_tokens: 0,
    opaque_uses: 0,
    later_prompts: [],
    final: false,
  };
}

/** @returns whether something of an answer was seen, also of one that has not said how it begins. */
export function hasObservedOutput(seen: ObservedPart | undefined): boolean {
  return seen !== undefined && (seen.said > 0 || seen.thinking > 0);
}

/** @returns the models that have written an answer, if its blocks say that one took over from another. */
export function listModelsOfFallbackAnswer(content: unknown): string[] | undefined {
  if (!Array.isArray(content)) return undefined;
  const switches = content.filter((block) => getMember(block, 'type') === 'fallback');
  const models = switches.flatMap((one) =>
    ['from', 'to'].flatMap((side) => toStringOrUndefined(getMember(getMember(one, side), 'model')) ?? []),
  );
  return models.length > 0 ? models : undefined;
}

/** @returns the name by which a tool's results are remembered. One of an MCP server may have the name of the API's own. */
export function getToolStatisticsKey(type: string, name: string): string {
  return type === 'mcp_tool_use' ? `mcp ${name}` : name;
}

/** @returns the tokens of the longest result of each of the API's own tools, by the tool's name; undefined if none has answered. */
export function findLongestToolResults(content: unknown): Record<string, number> | undefined {
  if (!Array.isArray(content)) return undefined;
  const tools = new Map<unknown, string>();
  const results = new Map<string, number>();
  for (const block of content) {
    const type = toStringOrUndefined(getMember(block, 'type')) ?? '';
    const name = toStringOrUndefined(getMember(block, 'name'));
    if (type.endsWith('tool_use') && name !== undefined)
      tools.set(getMember(block, 'id'), getToolStatisticsKey(type, name));
    const tool = type.endsWith('_tool_result') ? tools.get(getMember(block, 'tool_use_id')) : undefined;
    if (tool === undefined) continue;
    const tokens = Math.ceil(computeTextTokenUpperBound(JSON.stringify(getMember(block, 'content') ?? '')));
    results.set(tool, Math.max(tokens, results.get(tool) ?? 0));
  }
  return results.size > 0 ? Object.fromEntries(results) : undefined;
}

/** @returns the length of the signatures and the redacted data in the content of a message; undefined without any */
export function computeSignatureLength(content: unknown): number | undefined {
  if (!Array.isArray(content)) return undefined;
  const thinking = content.filter((block) => isThinkingType(getMember(block, 'type')));
  const texts = thinking.flatMap((block) => [getMember(block, 'signature'), getMember(block, 'data')]);
  return texts.reduce<number>((sum, text) => sum + (toStringOrUndefined(text)?.length ?? 0), 0) || undefined;
}

/** @returns the type of an `error` event or body. One that the API does not have may say anything. */
export function parseErrorType(body: unknown): ErrorType {
  const type = String(getMember(getMember(body, 'error'), 'type'));
  return isErrorType(type) ? type : 'api_error';
}

/** @returns whether a body is an error and nothing else, whatever its status: in the API's form, or in one of a gateway. */
export function isErrorBody(body: unknown): boolean {
  const one: unknown = Array.isArray(body) ? body[0] : body;
  const { type, object, error } = isObject(one) ? one : {};
  if (type === 'error' || object === 'error') return true;
  return type === undefined && (isObject(error) || typeof error === 'string');
}
