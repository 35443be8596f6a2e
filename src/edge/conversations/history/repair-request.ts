/**
 * Repairs a request that the API rejects although what it contains was accepted before: results of tools that have just come, or
 * blocks of the history that have become unreadable. Otherwise every later question would be rejected, too.
 *
 * What the API names is left out, or what the edge's calls have just returned; otherwise the block that has most likely become
 * unreadable. A guess is stored once the API has accepted the request without it. So a request that is rejected for another
 * reason costs the history nothing.
 */

import { RequestBody } from '../../claude/request/request-body.ts';
import { SentHistory } from '../../claude/request/sent-history.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import { edit, itemTexts, memberTexts } from '../../kit/json/edit.ts';
import { writeJson } from '../../kit/json/kept-text.ts';
import { type Json, memberOf, parseObject } from '../../kit/json/object.ts';
import { parseOrUndefined } from '../../kit/json/parse.ts';
import type { EdgeTools } from '../../registry/tools/edge-tools.ts';
import { isAboutContainer } from './container.ts';
import { isAboutTool, omitRejectedTool } from './omitted-tools.ts';
import {
  chosenResults,
  hiddenResults,
  hideResults,
  type ResultsOfStep,
  resultAt,
  withHidden,
  wordsOfRefusal,
} from './refused-results.ts';
import {
  ALL_THINKING,
  blocksAtPaths,
  blocksNamed,
  guesses,
  isExternal,
  LATER_GROUPS,
  type NamedBlock,
  nextGuess,
  omittedCalls,
  withoutOmitted,
} from './rejected-blocks.ts';
import { blocksIn, type RepairedMessage, storeRepaired } from './repaired-messages.ts';
import { withoutThinking } from './storage/message-text.ts';
import type { Transcript } from './storage/transcript.ts';

/** An error of the API, and the request that it is about. */
export interface Rejection {
  status: number;
  /** The body of the error. */
  text: string;
  /** The messages that were sent. */
  messages: readonly Json[];
  /** The tools that were sent. */
  tools: unknown;
  /** The container that the request named; undefined without one. */
  container: unknown;
  /** The upstream's name of the model. */
  model: string;
}

/** How often a request is sent again, at most. */
const MOST_REPAIRS = 8;
/** A parameter that the API names at the beginning of its words. `messages` is not one. */
const PARAMETER = /^[`'"]?(?!messages\b)[a-z_]+(?:\.[\w.]+)?[`'"]?: /;
/** How many tools of an agent are left out for one question, at most. */
const MOST_OMITTED_TOOLS = 20;
/** The only code of an error that is about a block. The others are about parameters, or about what the caller sends. */
const CODE_OF_BLOCKS = 'image_dimensions_too_large';

/** The part of a planned request that a repair reads and changes. */
export interface RepairablePlan {
  messages: { role: string; text: string; shown?: string | null }[];
  /** The body that is sent to the upstream. */
  body: JsonBody;
  /** For a step: the history with its messages. Absent where what is sent is not what is stored. */
  longer?: SentHistory | undefined;
  /** What the steps of a run have in common; absent if the turn is not a run. */
  run?: { tools: EdgeTools } | undefined;
}

/** What a repair is made from. */
interface Repaired<Plan> {
  transcript: Transcript;
  /** Plans the request anew, from what is stored. */
  plan(): Plan;
  results: ResultsOfStep | undefined;
  /** Whether the edge itself has made the request: then only the results are new, beside the answer before them. */
  isStep: boolean;
}

export class RequestRepair<Plan extends RepairablePlan> {
  /** The names of the agent's tools that were left out. */
  readonly omittedTools: string[] = [];
  readonly #of: Repaired<Plan>;
  #tries = 0;
  /** How many of the messages are new; undefined while that is not known. */
  #fresh: number | undefined;
  /** The keys of the blocks that are left out: those that the API has named, and those that are a guess. */
  readonly #named = new Set<string>();
  readonly #guessed = new Set<string>();
  /** Results in words, while that is a guess. */
  #trial: ReadonlyMap<string, Json> | undefined;
  #hidesResults = false;
  /** The words with which the API has rejected these results. */
  #why = '';

  constructor(of: Repaired<Plan>) {
    this.#of = of;
  }

  /** How many blocks of the history are left out. */
  get omitted(): number {
    return this.#all.size;
  }

  /**
   * Repairs the request once more.
   *
   * @returns the plan without what was rejected, and its messages where they have changed; undefined if the rejection is final
   */
  next(rejection: Rejection): { plan: Plan; messages?: Plan['messages'] } | undefined {
    const { results, isStep } = this.#of;
    const words = wordsOfRefusal(rejection.text);
    if (isAboutTool(words)) return this.#omitTool(words, rejection.tools);
    if (this.#tries >= MOST_REPAIRS) return undefined;
    this.#tries += 1;
    this.#fresh ??= this.#of.plan().messages.length;
    const fresh = rejection.messages.length - this.#fresh;
    const paths = blocksAtPaths(rejection.text, rejection.messages);
    // The container may be lost, but the messages are readable: the turn's end decides what the next request names.
    if (rejection.container !== undefined && paths.length === 0 && isAboutContainer(words)) return undefined;
    const isNew = isStep ? (block: NamedBlock) => this.#mayHaveChanged(block, fresh, rejection) : () => true;
    const old = rejection.messages.slice(0, fresh);
    const named = [
      ...paths.filter((block) => block.at < fresh && isNew(block)).map(({ key }) => key),
      ...blocksNamed(rejection.text, old),
    ].filter((key) => !this.#all.has(key) && !(key === ALL_THINKING && this.#all.size > 0));
    const ofResults = results ? resultsNamed(rejection, fresh, results) : [];
    if (ofResults.length > 0 && !this.#hidesResults) return this.#hide(ofResults, words);
    if (named.length > 0) return this.#omit(this.#widened(named, old), this.#named);
    if (results && isStep) {
      if (!this.#hidesResults) return this.#hide(chosenResults(words, rejection.status, results.pending), words);
      hideResults(this.#of.transcript, results.turn, results.pending.keys(), words);
      return undefined;
    }
    if (ofResults.length > 0 && results) {
      hideResults(this.#of.transcript, results.turn, results.pending.keys(), words);
      return undefined;
    }
    const isOfCaller = paths.some(({ at }) => at >= fresh) || isAboutParameter(rejection, words);
    return isOfCaller ? undefined : this.#guess(words, rejection, old);
  }

  /** Stores what was left out, now that the API has accepted the request. @returns the messages of the turn where they have changed */
  accept(): Plan['messages'] | undefined {
    if (this.#tries === 0) return undefined;
    const { transcript, results, plan } = this.#of;
    const calls = omittedCalls(this.#all);
    return transcript.together(() => {
      storeOmitted(transcript, this.#all);
      if (this.#trial && results) hideResults(transcript, results.turn, this.#trial.keys(), this.#why);
      return this.#trial || calls.size > 0 ? plan().messages : undefined;
    });
  }

  /** Stores only what the API has named: the request was rejected in the end, so a guess may have been wrong. */
  giveUp(): void {
    if (this.#named.size > 0) this.#of.transcript.together(() => storeOmitted(this.#of.transcript, this.#named));
  }

  get #all(): ReadonlySet<string> {
    return new Set([...this.#named, ...this.#guessed]);
  }

  #omitTool(words: string, tools: unknown) {
    const { transcript, plan } = this.#of;
    if (this.omittedTools.length >= MOST_OMITTED_TOOLS) return undefined;
    const name = omitRejectedTool(transcript, words, tools, plan().run?.tools.runs);
    if (name === undefined) return undefined;
    this.omittedTools.push(name);
    return { plan: this.#changed(plan()) };
  }

  /** @returns whether a block can have become unreadable since the step before was accepted with it */
  #mayHaveChanged({ at, key }: NamedBlock, fresh: number, { messages }: Rejection): boolean {
    return isExternal(key) || key === ALL_THINKING || (at === fresh - 1 && messages[at]?.role === 'assistant');
  }

  /** Adds all blocks that are read from elsewhere when the tries run out: many may have expired. */
  #widened(keys: readonly string[], messages: readonly Json[]): readonly string[] {
    if (MOST_REPAIRS - this.#tries >= LATER_GROUPS || !keys.some(isExternal)) return keys;
    const [external = []] = guesses(messages);
    return [...keys, ...external];
  }

  #hide(ids: readonly string[], words: string) {
    const { transcript, results, plan } = this.#of;
    this.#hidesResults = true;
    // At once: if the object dies now, what is stored has words in place of the results in both places.
    if (results) hideResults(transcript, results.turn, ids, words);
    const planned = this.#changed(plan());
    return { plan: planned, messages: planned.messages };
  }

  #omit(keys: readonly string[], into: Set<string>) {
    for (const key of keys) into.add(key);
    return { plan: this.#changed(this.#of.plan()) };
  }

  #guess(words: string, { status }: Rejection, old: readonly Json[]) {
    const { results } = this.#of;
    if (results && !this.#trial && !this.#hidesResults) {
      this.#why = words;
      this.#trial = hiddenResults(chosenResults(words, status, results.pending), words);
      return { plan: this.#changed(this.#of.plan()) };
    }
    const keys = nextGuess(guesses(old), this.#all, MOST_REPAIRS - this.#tries + 1);
    return keys && this.#omit(keys, this.#guessed);
  }

  /** @returns a plan whose body goes without what is left out */
  #changed(plan: Plan): Plan {
    const omitted = this.#all;
    const { body } = plan;
    if (!(body instanceof RequestBody) || (omitted.size === 0 && !this.#trial)) return plan;
    const { text } = body;
    const all = itemTexts(memberTexts(text).get('messages') ?? '[]');
    const fresh = all.length - plan.messages.length;
    const calls = new Set([...omitted].filter((key) => key.startsWith('call ')));
    const messages = all.map((one, at) => {
      const shown = this.#trial ? this.#inWords(one, this.#trial) : one;
      if (at >= fresh) return calls.size > 0 ? messageWithout(shown, calls) : shown;
      return omitted.size > 0 ? withoutThinking(messageWithout(shown, omitted)) : shown;
    });
    const changed = edit(body.ownText, { messages: `[${messages.join(',')}]` });
    return { ...plan, body: new RequestBody(changed, SentHistory.EMPTY), longer: undefined };
  }

  #inWords(message: string, hidden: ReadonlyMap<string, Json>): string {
    const { pending = new Map<string, string>() } = this.#of.results ?? {};
    const blocks = blocksIn(message);
    const content = withHidden(blocks, hidden, pending);
    return content.every((block, at) => block === blocks[at])
      ? message
      : edit(message, { content: writeJson(content) });
  }
}

/** @returns the ids of calls whose fresh results a rejection names, by a path or by what they refer to */
function resultsNamed({ text, messages }: Rejection, fresh: number, results: ResultsOfStep): string[] {
  const named = [...text.matchAll(/\bmessages[.[/](\d+)\]?[./]content[.[/](\d+)/g)].map(([, message, block]) =>
    Number(message) < fresh && !isQuestion(messages, Number(message), fresh)
      ? undefined
      : resultAt(messages[Number(message)], Number(block), results.pending),
  );
  const external = [...results.pending].flatMap(([id, result]) =>
    blocksNamed(text, [{ content: [parseObject(result) ?? {}] }]).length > 0 ? [id] : [],
  );
  return [...new Set([...named, ...external].filter((id) => id !== undefined))];
}

/** @returns whether a message stands in the question that has no answer yet */
function isQuestion(messages: readonly Json[], at: number, fresh: number): boolean {
  return messages.slice(at, fresh).every(({ role }) => role === 'user');
}

/** @returns whether a rejection is about a parameter, or about the model, and not about a message */
function isAboutParameter({ text, model }: Rejection, words: string): boolean {
  const details = memberOf(memberOf(parseOrUndefined(text), 'error'), 'details');
  const code = memberOf(details, 'error_code');
  if (typeof code === 'string' && code !== CODE_OF_BLOCKS) return true;
  return PARAMETER.test(words) || words.includes(model);
}

/** @returns a message as JSON text without omitted blocks; the same text if it has none */
function messageWithout(text: string, omitted: ReadonlySet<string>): string {
  const content = withoutOmitted(parseObject(text)?.content, omitted);
  return content ? edit(text, { content: writeJson(content) }) : text;
}

/** Stores that blocks are not sent any more. What was stored is shown as before. */
function storeOmitted(transcript: Transcript, omitted: ReadonlySet<string>): void {
  const { profile } = transcript;
  if (omitted.size === 0 || !profile) return;
  const repaired: RepairedMessage[] = [];
  for (const row of transcript.messages.history({ sent: true })) {
    const content = withoutOmitted(parseObject(row.text)?.content, omitted);
    if (content) repaired.push({ ...row, content });
  }
  storeRepaired(transcript, repaired);
  const calls = [...omittedCalls(omitted)];
  const leftOut = calls.length > 0 ? { leftOut: [...new Set([...(profile.leftOut ?? []), ...calls])] } : {};
  // The turn that runs has the newest number. What it answers is bound to what is sent now.
  transcript.save({ ...profile, ...leftOut, thinkingFrom: transcript.newestTurn });
}
