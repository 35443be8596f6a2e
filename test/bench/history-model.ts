/**
 * Computes what a long conversation costs, by how its history is kept. It asks nobody: each turn is a prompt and an answer of
 * given lengths, priced as the edge prices what the API reports.
 */

import type { Model } from '#edge/claude/models/models.ts';
import { computeCost } from '#edge/claude/pricing/cost.ts';

/** What happens to the oldest turns once a history is long. Lengths are tokens, without the system and tools. */
export type HistoryStrategy =
  /** Nothing: it grows until the model's window is full. */
  | { kind: 'never' }
  /** They are left out where it would be longer than `most`, until it is at most this part of it. */
  | { kind: 'truncate'; most: number; filled: number }
  /** A summary replaces them. */
  | {
      kind: 'summarize';
      most: number;
      /** The part of `most` above which a summary is made behind an answer whose prompt was in the cache. */
      begins: number;
      /** The part of `most` that the turns that stay may take up. */
      keeps: number;
      /** The longest summary. It is never longer than what it replaces. */
      summary: number;
      /** What asks for the summary, behind the turns that it replaces. */
      instruction: number;
    };

const NANODOLLARS = 1e9;

/** A conversation. Lengths are tokens. */
export interface LongConversation {
  model: Model;
  turns: number;
  question: number;
  answer: number;
  /** The system and the tools, with which each prompt begins. */
  system: number;
  strategy: HistoryStrategy;
  /**
   * Whether the upstream's prompt cache holds each prompt until the next one, as it does if turns are less than 5 minutes apart.
   * Then a prompt reads what it has in common with the last one, and writes the rest. Otherwise all of it is input.
   */
  isCached: boolean;
}

/** What it costs. */
export interface HistoryCost {
  usd: number;
  /** Tokens of all prompts, those of summaries too; and of all answers and summaries. */
  promptTokens: number;
  outputTokens: number;
  /** How often turns were left out or replaced. */
  shortened: number;
  /** Turns that were answered: fewer than asked for where the window was full. */
  answered: number;
}

/** The history as it goes up: perhaps a summary, then turns. */
export interface KeptHistory {
  summary: number;
  turns: number[];
  /** So many of the turns were asked before the summary was there. */
  older: number;
}

/** @returns what a conversation costs until its last turn, or until the model's window is full */
export function costOfHistory(conversation: LongConversation): HistoryCost {
  const { model, turns, question, answer, system, strategy } = conversation;
  const cost: HistoryCost = { usd: 0, promptTokens: 0, outputTokens: 0, shortened: 0, answered: 0 };
  const requests = new Requests(conversation, cost);
  const history: KeptHistory = { summary: 0, turns: [], older: 0 };
  const length = () => history.summary + sum(history.turns);
  for (; cost.answered < turns; cost.answered += 1) {
    const cut = shortenedBy(strategy, history, question, requests.hasRead);
    if (cut > 0) {
      const replaced = history.summary + sum(history.turns.slice(0, cut));
      if (strategy.kind === 'summarize') {
        history.summary = Math.min(strategy.summary, replaced);
        requests.summary(system + replaced, strategy.instruction, history.summary);
      }
      history.turns = history.turns.slice(cut);
      history.older = history.turns.length;
      requests.forget();
      cost.shortened += 1;
    }
    const prompt = system + length() + question;
    if (prompt + answer > model.max_input_tokens) break;
    requests.turn(prompt, answer);
    history.turns.push(question + answer);
  }
  return cost;
}

/** Adds requests up, and knows what the cache holds: the last prompt of a turn. */
class Requests {
  readonly #conversation: LongConversation;
  readonly #cost: HistoryCost;
  #held = 0;
  /** Whether the last turn has read from the cache. */
  hasRead = false;

  constructor(conversation: LongConversation, cost: HistoryCost) {
    this.#conversation = conversation;
    this.#cost = cost;
  }

  /** Asks for an answer. What the prompt adds to the last one is written to the cache. */
  turn(prompt: number, answer: number): void {
    const read = Math.min(this.#held, prompt);
    const isHeld = this.#holds(prompt);
    this.#add({ read, written: isHeld ? prompt - read : 0, input: isHeld ? 0 : prompt - read, output: answer });
    this.#held = isHeld ? prompt : 0;
    this.hasRead = read > 0;
  }

  /**
   * Asks for a summary of how the last prompt began. The cache has whole prompts: the one of the last turn that is replaced is read,
   * and its answer is written.
   */
  summary(prompt: number, instruction: number, summary: number): void {
    const written = this.#held > 0 ? this.#conversation.answer : 0;
    const read = Math.min(this.#held, prompt - written);
    this.#add({ read, written, input: prompt - read - written + instruction, output: summary });
  }

  /** Another history follows the system from now on. */
  forget(): void {
    this.#held = 0;
  }

  #holds(prompt: number): boolean {
    const { isCached, model } = this.#conversation;
    return isCached && prompt >= model.minimum_cacheable_tokens;
  }

  #add({ read, written, input, output }: Record<'read' | 'written' | 'input' | 'output', number>): void {
    const usage = {
      cache_read_input_tokens: read,
      cache_creation_input_tokens: written,
      input_tokens: input,
      output_tokens: output,
    };
    this.#cost.usd += computeCost(usage, this.#conversation.model) / NANODOLLARS;
    this.#cost.promptTokens += read + written + input;
    this.#cost.outputTokens += output;
  }
}

/**
 * @param hasRead whether the last prompt was in the cache
 * @returns how many of the oldest turns leave the history before a question
 */
export function shortenedBy(
  strategy: HistoryStrategy,
  { summary, turns, older }: KeptHistory,
  question: number,
  hasRead: boolean,
): number {
  if (strategy.kind === 'never') return 0;
  if (strategy.kind === 'truncate') {
    const { most, filled } = strategy;
    let left = question + sum(turns);
    if (left <= most || turns.length === 0) return 0;
    let cut = 0;
    for (; cut === 0 || (cut < turns.length && left > most * filled); cut += 1) left -= turns[cut] ?? 0;
    // One turn stays if it fits, even where that fills more.
    return cut === turns.length && question + (turns.at(-1) ?? 0) <= most ? cut - 1 : cut;
  }
  const { most, begins, keeps } = strategy;
  const length = summary + sum(turns);
  if (!(hasRead && length > most * begins) && length + question <= most) return 0;
  let left = sum(turns);
  let cut = 0;
  // The last turn always stays, and one goes whose prompt is in the cache.
  for (; cut < turns.length - 1 && (cut <= older || left > most * keeps); cut += 1) left -= turns[cut] ?? 0;
  return cut;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}
