/**
 * Repairs a request that the API rejects because of content that cannot be changed by the caller: new results of the edge's
 * calls, or blocks of the history that were accepted before. Otherwise, every later question would be rejected, too.
 *
 * First it omits the blocks that the error names, or the results that the edge's calls have just returned, and then the blocks
 * that have most likely become unreadable. Omitted blocks and tools are stored only once the API has accepted the request
 * without them, so a request that is rejected for another reason changes nothing.
 */

import { RequestBody } from '../../claude/request/request-body.ts';
import { SentHistory } from '../../claude/request/sent-history.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import { editJson, parseMemberTexts, splitArrayItems } from '../../kit/json/edit.ts';
import { getMember, type JsonObject, parseJsonObject } from '../../kit/json/object.ts';
import { parseJsonOrUndefined } from '../../kit/json/parse.ts';
import { stringifyWithRememberedTexts } from '../../kit/json/remembered-text.ts';
import type { ParsedEdgeTools } from '../../registry/tools/edge-tools.ts';
import { isContainerError } from './container.ts';
import { type ErrorPath, parseErrorPath } from './error-path.ts';
import { findRejectedToolName, listOmittedTools, type RejectedTool, storeOmittedTools } from './omitted-tools.ts';
import {
  createHiddenResultBlocks,
  findResultCallId,
  getErrorText,
  guessRejectedResults,
  replaceHiddenResults,
  type StepResults,
  storeResultsAsHidden,
} from './refused-results.ts';
import {
  ALL_THINKING,
  chooseNextBlocksToOmit,
  createFileBlockKey,
  findBlocksAtPath,
  findNamedKeys,
  groupBlocksByLikelyRejection,
  isExternalBlockKey,
  LATER_GROUPS,
  listOmittedCallIds,
  type RejectedBlockReference,
  replaceOmittedBlocks,
} from './rejected-blocks.ts';
import { parseBlocks, type RepairedMessage, storeRepaired } from './repaired-messages.ts';
import { removeThinking } from './storage/message-text.ts';
import type { Transcript } from './storage/transcript.ts';

/** An error of the API, and the request that it is about. */
export interface RejectedRequest {
  status: number;
  /** The body of the error. */
  text: string;
  /** The messages that were sent. */
  messages: readonly JsonObject[];
  /** The tools that were sent. */
  tools: unknown;
  /** The names of the fields that were sent. */
  fields: readonly string[];
  /** The container that the request named; undefined without one. */
  container: unknown;
  /** The model as the Claude API names it: an alias is already resolved. */
  model: string;
}

/** How often a request is sent again, at most. */
const MAX_REPAIRS = 8;
/** A parameter that the API names at the beginning of its words. `messages` is not one. */
const PARAMETER = /^[`'"]?(?!messages\b)[a-z_]+(?:\.[\w.]+)?[`'"]?: /;
/** How many tools of an agent are left out for one question, at most. */
const MAX_OMITTED_TOOLS = 20;
/** The only code of an error that is about a block. The others are about parameters, or about what the caller sends. */
const BLOCK_ERROR_CODE = 'image_dimensions_too_large';

/** The part of a planned request that a repair reads and changes. */
export interface RepairablePlan {
  messages: { role: string; text: string; shown?: string | null }[];
  /** The body that is sent to the upstream. */
  body: JsonBody;
  /** For a step: the history with its messages. Absent if the messages are not sent as they are stored. */
  extendedHistory?: SentHistory | undefined;
  /** What the steps of a run have in common; absent if the turn is not a run. */
  run?: { tools: ParsedEdgeTools } | undefined;
}

/** The input of a repair. */
interface RepairContext<Plan> {
  transcript: Transcript;
  /** Plans the request anew, from what is stored, without these tools. */
  planAgain(rejectedTools: readonly string[]): Plan;
  results: StepResults | undefined;
  /** Whether the edge itself wrote the request. Then only the tool results are new, apart from the answer before them. */
  isStep: boolean;
}

export class RequestRepair<Plan extends RepairablePlan> {
  /** The agent's tools that are left out of this request, because the API has rejected them. */
  readonly #rejectedTools: RejectedTool[] = [];
  readonly #context: RepairContext<Plan>;
  #tries = 0;
  /** How many of the messages are new; undefined while that is not known. */
  #newMessageCount: number | undefined;
  /** The keys of the blocks that are left out: those that the API has named, and those that are a guess. */
  readonly #namedKeys = new Set<string>();
  readonly #guessedKeys = new Set<string>();
  /** The results that are replaced by text as a guess. */
  #guessedResults: ReadonlyMap<string, JsonObject> | undefined;
  /** The ids of the calls whose results are hidden. */
  readonly #hiddenResults = new Set<string>();
  /** The words with which the API has rejected these results. */
  #rejectionText = '';

  constructor(context: RepairContext<Plan>) {
    this.#context = context;
  }

  /** The names of the agent's tools that are left out, also of those that were rejected in an earlier turn. */
  get omittedTools(): readonly string[] {
    return [...new Set([...listOmittedTools(this.#context.transcript), ...this.#rejectedToolNames])];
  }

  get #rejectedToolNames(): readonly string[] {
    return this.#rejectedTools.map(({ name }) => name);
  }

  /** How many blocks of the history are left out. */
  get omittedBlockCount(): number {
    return this.#allOmittedKeys.size;
  }

  /**
   * Repairs the request once more.
   *
   * @returns the plan without the rejected blocks, and its messages if they have changed; undefined if the rejection is final
   */
  repairOnce(rejection: RejectedRequest): { plan: Plan; messages?: Plan['messages'] } | undefined {
    const { results, isStep } = this.#context;
    const words = getErrorText(rejection.text);
    const path = parseErrorPath(rejection.text, rejection.fields);
    if (path && 'tool' in path) return this.#omitTool(path.tool, words, rejection.tools);
    if (this.#tries >= MAX_REPAIRS) return undefined;
    this.#tries += 1;
    this.#newMessageCount ??= this.#planAgain().messages.length;
    // The index of the first new message. The messages before it are the history.
    const firstNew = rejection.messages.length - this.#newMessageCount;
    const paths = findBlocksAtPath(path, rejection.messages);
    // The API rejected the container, not a message, so omitting blocks would not help. Give up; the end of the turn removes
    // the lost container from the conversation.
    if (rejection.container !== undefined && paths.length === 0 && isContainerError(words)) return undefined;
    const canBeInvalid = isStep
      ? (block: RejectedBlockReference) => this.#canBlockHaveBecomeInvalid(block, firstNew, rejection)
      : () => true;
    const old = rejection.messages.slice(0, firstNew);
    const named = [
      ...paths.filter((block) => block.at < firstNew && canBeInvalid(block)).map(({ key }) => key),
      ...findNamedKeys(rejection.text, old),
    ].filter((key) => !this.#allOmittedKeys.has(key) && !(key === ALL_THINKING && this.#allOmittedKeys.size > 0));
    const ofResults = results ? findResultsNamedInRejection(rejection, path, firstNew, results) : [];
    const notHidden = ofResults.filter((id) => !this.#hiddenResults.has(id));
    // Hide the results that the error names. Do this only once in a step of a run. In a question do it each time, or every
    // later question would be rejected, too.
    if (notHidden.length > 0 && (!isStep || this.#hiddenResults.size === 0)) return this.#hideResults(notHidden, words);
    if (named.length > 0) return this.#omitBlocks(this.#addExternalBlocksOnLastTries(named, old), this.#namedKeys);
    if (results && isStep) {
      if (this.#hiddenResults.size === 0)
        return this.#hideResults(guessRejectedResults(words, rejection.status, results.pending), words);
      storeResultsAsHidden(this.#context.transcript, results.turn, results.pending.keys(), words);
      return undefined;
    }
    if (ofResults.length > 0 && results) {
      storeResultsAsHidden(this.#context.transcript, results.turn, results.pending.keys(), words);
      return undefined;
    }
    const isOfCaller = paths.some(({ at }) => at >= firstNew) || isRejectionAboutParameter(rejection, words);
    return isOfCaller ? undefined : this.#omitGuessedBlocks(words, rejection, old);
  }

  /** Omits the blocks of the history that refer to deleted files. @returns the plan without them */
  omitDeletedFiles(ids: readonly string[]): Plan {
    return this.#omitBlocks(ids.map(createFileBlockKey), this.#namedKeys).plan;
  }

  /** Stores the omissions, because the API has accepted the request. @returns the messages of the turn if they have changed */
  storeAcceptedOmissions(): Plan['messages'] | undefined {
    if (this.#tries === 0 && this.omittedBlockCount === 0 && this.#rejectedTools.length === 0) return undefined;
    const { transcript, results } = this.#context;
    const calls = listOmittedCallIds(this.#allOmittedKeys);
    return transcript.runInTransaction(() => {
      storeOmitted(transcript, this.#allOmittedKeys);
      storeOmittedTools(transcript, this.#rejectedTools);
      if (this.#guessedResults && results)
        storeResultsAsHidden(transcript, results.turn, this.#guessedResults.keys(), this.#rejectionText);
      return this.#guessedResults || calls.size > 0 ? this.#planAgain().messages : undefined;
    });
  }

  get #allOmittedKeys(): ReadonlySet<string> {
    return new Set([...this.#namedKeys, ...this.#guessedKeys]);
  }

  #planAgain(): Plan {
    return this.#context.planAgain(this.#rejectedToolNames);
  }

  #omitTool(index: number, words: string, tools: unknown) {
    if (this.#rejectedTools.length >= MAX_OMITTED_TOOLS) return undefined;
    const name = findRejectedToolName(this.#context.transcript, index, tools, this.#planAgain().run?.tools.runs);
    if (name === undefined) return undefined;
    this.#rejectedTools.push({ name, words });
    return { plan: this.#applyOmissionsToPlan(this.#planAgain()) };
  }

  /** @returns whether a block can have become unreadable since the step before was accepted with it */
  #canBlockHaveBecomeInvalid(
    { at, key }: RejectedBlockReference,
    firstNew: number,
    { messages }: RejectedRequest,
  ): boolean {
    return (
      isExternalBlockKey(key) || key === ALL_THINKING || (at === firstNew - 1 && messages[at]?.role === 'assistant')
    );
  }

  /** Adds all blocks that are read from elsewhere when the tries run out: many may have expired. */
  #addExternalBlocksOnLastTries(keys: readonly string[], messages: readonly JsonObject[]): readonly string[] {
    if (MAX_REPAIRS - this.#tries >= LATER_GROUPS || !keys.some(isExternalBlockKey)) return keys;
    const [external = []] = groupBlocksByLikelyRejection(messages);
    return [...keys, ...external];
  }

  #hideResults(ids: readonly string[], words: string) {
    const { transcript, results } = this.#context;
    for (const id of ids) this.#hiddenResults.add(id);
    // Store this before the request is sent again: if the object dies meanwhile, the next turn sends the replacement text, not
    // the rejected results.
    if (results) storeResultsAsHidden(transcript, results.turn, ids, words);
    const planned = this.#applyOmissionsToPlan(this.#planAgain());
    return { plan: planned, messages: planned.messages };
  }

  #omitBlocks(keys: readonly string[], into: Set<string>) {
    for (const key of keys) into.add(key);
    return { plan: this.#applyOmissionsToPlan(this.#planAgain()) };
  }

  #omitGuessedBlocks(words: string, { status }: RejectedRequest, old: readonly JsonObject[]) {
    const { results } = this.#context;
    if (results && this.#hiddenResults.size === 0 && (this.#guessedResults?.size ?? 0) < results.pending.size) {
      // The error names no block. First hide the results that are most likely its cause, then all of them. If the bad result
      // stayed, the API would reject every later question, too.
      const ids = this.#guessedResults ? results.pending.keys() : guessRejectedResults(words, status, results.pending);
      this.#rejectionText = words;
      this.#guessedResults = createHiddenResultBlocks(ids, words);
      return { plan: this.#applyOmissionsToPlan(this.#planAgain()) };
    }
    const keys = chooseNextBlocksToOmit(
      groupBlocksByLikelyRejection(old),
      this.#allOmittedKeys,
      MAX_REPAIRS - this.#tries + 1,
    );
    return keys && this.#omitBlocks(keys, this.#guessedKeys);
  }

  /** @returns a plan whose body does not contain the omitted blocks */
  #applyOmissionsToPlan(plan: Plan): Plan {
    const omitted = this.#allOmittedKeys;
    const { body } = plan;
    if (!(body instanceof RequestBody) || (omitted.size === 0 && !this.#guessedResults)) return plan;
    const { text } = body;
    const all = splitArrayItems(parseMemberTexts(text).get('messages') ?? '[]');
    const firstNew = all.length - plan.messages.length;
    const calls = new Set([...omitted].filter((key) => key.startsWith('call ')));
    const messages = all.map((one, at) => {
      const shown = this.#guessedResults ? this.#convertHiddenResultsToText(one, this.#guessedResults) : one;
      if (at >= firstNew) return calls.size > 0 ? removeOmittedBlocksFromMessage(shown, calls) : shown;
      return omitted.size > 0 ? removeThinking(removeOmittedBlocksFromMessage(shown, omitted)) : shown;
    });
    const changed = editJson(body.textWithoutHistory, { messages: `[${messages.join(',')}]` });
    return { ...plan, body: new RequestBody(changed, SentHistory.EMPTY), extendedHistory: undefined };
  }

  #convertHiddenResultsToText(message: string, hidden: ReadonlyMap<string, JsonObject>): string {
    const { pending = new Map<string, string>() } = this.#context.results ?? {};
    const blocks = parseBlocks(message);
    const content = replaceHiddenResults(blocks, hidden, pending);
    return content.every((block, at) => block === blocks[at])
      ? message
      : editJson(message, { content: stringifyWithRememberedTexts(content) });
  }
}

/** @returns the ids of calls whose new results a rejection names, by a path or by their URL or file */
function findResultsNamedInRejection(
  { text, messages }: RejectedRequest,
  path: ErrorPath | undefined,
  firstNew: number,
  results: StepResults,
): string[] {
  const { message, block } = path && 'message' in path ? path : {};
  const isNew = message !== undefined && (message >= firstNew || isInUnansweredQuestion(messages, message, firstNew));
  const named = isNew && block !== undefined ? findResultCallId(messages[message], block, results.pending) : undefined;
  const external = [...results.pending].flatMap(([id, result]) =>
    findNamedKeys(text, [{ content: [parseJsonObject(result) ?? {}] }]).length > 0 ? [id] : [],
  );
  return [...new Set([named, ...external].filter((id) => id !== undefined))];
}

/** @returns whether a message is part of the question that has no answer yet */
function isInUnansweredQuestion(messages: readonly JsonObject[], at: number, firstNew: number): boolean {
  return messages.slice(at, firstNew).every(({ role }) => role === 'user');
}

/** @returns whether a rejection is about a parameter, or about the model, and not about a message */
function isRejectionAboutParameter({ text, model }: RejectedRequest, words: string): boolean {
  const details = getMember(getMember(parseJsonOrUndefined(text), 'error'), 'details');
  const code = getMember(details, 'error_code');
  if (typeof code === 'string' && code !== BLOCK_ERROR_CODE) return true;
  return PARAMETER.test(words) || words.includes(model);
}

/** @returns a message as JSON text without omitted blocks; the same text if it has none */
function removeOmittedBlocksFromMessage(text: string, omitted: ReadonlySet<string>): string {
  const content = replaceOmittedBlocks(parseJsonObject(text)?.content, omitted);
  return content ? editJson(text, { content: stringifyWithRememberedTexts(content) }) : text;
}

/** Stores that blocks are not sent any more. Views still show the stored blocks. */
function storeOmitted(transcript: Transcript, omitted: ReadonlySet<string>): void {
  const { storedProfile: profile } = transcript;
  if (omitted.size === 0 || !profile) return;
  const repaired: RepairedMessage[] = [];
  for (const row of transcript.messages.readMessages({ sent: true })) {
    const content = replaceOmittedBlocks(parseJsonObject(row.text)?.content, omitted);
    if (content) repaired.push({ ...row, content });
  }
  storeRepaired(transcript, repaired);
  const calls = [...listOmittedCallIds(omitted)];
  const leftOut = calls.length > 0 ? { leftOut: [...new Set([...(profile.leftOut ?? []), ...calls])] } : {};
  // Stop sending the thinking of all turns before the running one (whose number is the newest). A thinking signature covers the
  // blocks before it, and some of these are omitted now. See
  // https://platform.claude.com/docs/build-with-claude/preserved-thinking
  transcript.saveProfile({ ...profile, ...leftOut, thinkingFrom: transcript.newestTurnNumber });
}
