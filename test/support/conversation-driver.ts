/** Long conversations of several kinds, and facts that they must not forget. */
import { expect } from 'vitest';
import { pngOf } from '../simulator/pictures.ts';
import type { Draw } from './create-draw.ts';
import {
  areRowsAccepted,
  expectSameRows,
  type HistoryRow,
  JSON_HEADERS,
  postInit,
  type RestartingEdge,
  type Stream,
} from './restarting-edge.ts';
import { INSTRUCTIONS, MARK } from './summarizing-api.ts';

/** How a conversation is created, and what each of its requests has. */
interface Kind {
  name: string;
  creationBody: Record<string, unknown>;
  more?: object;
  /** What is said besides, by the number of the turn. */
  says?: (turn: number) => string;
  hasImages?: boolean;
}

const createTool = (name: string, more: object = {}) => ({
  name,
  description: 'Looks a box up.',
  ...more,
  input_schema: { type: 'object', properties: { box: { type: 'string' } }, required: ['box'] },
});

/** Thinking that comes back elsewhere than it was made is refused. */
const STRICT_BINDING = { prefix_mismatch_behavior: 'error' };

/** @param toolUrl where the edge calls the tools of runs */
export const createKinds = (toolUrl: string): readonly Kind[] => [
  { name: 'plain', creationBody: { model: 'claude-opus-5-5', max_tokens: 60 } },
  {
    name: 'tools',
    creationBody: { model: 'claude-sonnet-5-5', max_tokens: 80, tools: [createTool('look_up')] },
    says: (turn) => (turn % 2 === 0 ? 'Call look_up for this box.' : ''),
  },
  {
    name: 'runs',
    creationBody: {
      model: 'claude-sonnet-5-5',
      max_tokens: 80,
      tools: [createTool('fetch_box', { run: { url: toolUrl } })],
    },
    says: (turn) => (turn % 2 === 0 ? 'Call fetch_box for this box.' : ''),
  },
  {
    name: 'think',
    creationBody: { model: 'claude-sonnet-4-6', max_tokens: 1_100, system: 'You keep a store.' },
    more: { thinking: { type: 'enabled', budget_tokens: 1_024, block_binding: STRICT_BINDING } },
  },
  {
    name: 'adapt',
    creationBody: { model: 'claude-opus-5-5', max_tokens: 300, tools: [createTool('look_up')] },
    more: { thinking: { type: 'adaptive', block_binding: STRICT_BINDING } },
    says: (turn) => (turn % 3 === 0 ? 'Call look_up for this box.' : ''),
  },
  { name: 'images', creationBody: { model: 'claude-sonnet-5-5', max_tokens: 60 }, hasImages: true },
];

/** Turns that follow each other without a fact, so that all facts fit into a summary. */
const MAX_FACTS = 18;
/** Results for the calls of one question. */
const MAX_RESULTS = 4;

type Block = Exclude<HistoryRow['content'], string>[number];

const contentBlocksOf = ({ content }: HistoryRow): readonly Block[] => (typeof content === 'string' ? [] : content);
/** @returns the calls that wait for a result of their client */
const openCallsOf = (rows: readonly HistoryRow[]): { id: string }[] => {
  const last = rows.at(-1);
  if (last?.role !== 'assistant' || last.status !== 'complete') return [];
  return contentBlocksOf(last).flatMap((block) => (block.type === 'tool_use' ? [{ id: block.id }] : []));
};

/** A conversation, and whoever speaks in it: he follows each turn through all kills. */
export class ConversationDriver {
  readonly id: string;
  readonly kind: Kind;
  /** The history as it was last read. */
  rows: HistoryRow[] = [];
  /** Facts of the questions that are kept. */
  readonly facts = new Set<string>();
  /** Marks of questions that went up without their oldest turns. */
  readonly truncatedCount = new Set<string>();
  interruptedCount = 0;
  readonly #edge: RestartingEdge;
  readonly #draw: Draw;
  #sentCount = 0;

  constructor(lives: RestartingEdge, draw: Draw, id: string, kind: Kind) {
    this.#edge = lives;
    this.#draw = draw;
    this.id = id;
    this.kind = kind;
  }

  async create(history: object): Promise<void> {
    const body = { id: this.id, history: { ...history, instructions: INSTRUCTIONS }, ...this.kind.creationBody };
    for (;;) {
      const { status, text } = await this.#edge.requestUntilAnswered('/conversations', postInit(body));
      // One whose answer a kill has cut may be there.
      if (status < 300 || status === 409) return;
      expect([500, 503], text).toContain(status);
    }
  }

  /** Asks the next question, and sends the results that it needs. */
  async runTurn(number: number, totalTurns: number): Promise<void> {
    const mark = `[${this.id}#${number}]`;
    const every = Math.max(1, Math.ceil(totalTurns / MAX_FACTS));
    const fact = number % every === 0 ? `Remember: box ${number} is number ${this.id}-${1_000 + number}.` : '';
    const filler = 'And so on, as before. '.repeat(10 + this.#draw(30));
    const text = `${mark} Box ${number} has come. ${this.kind.says?.(number) ?? ''} ${filler}${fact}`.trim();
    const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: pngOf(40, 30) } };
    const content = this.kind.hasImages && number % 3 === 0 ? [image, { type: 'text', text }] : text;
    await this.sendAndFollow(mark, content);
    for (let nth = 0; nth < MAX_RESULTS && this.#draw(4) > 0; nth += 1) {
      const calls = openCallsOf(this.rows);
      if (calls.length === 0) break;
      const results = calls.map(({ id }) => ({
        type: 'tool_result',
        tool_use_id: id,
        content: `Box ${number} is here.`,
      }));
      await this.sendAndFollow(mark, results);
    }
    for (const row of this.rows.filter(({ role, status }) => role === 'user' && status !== 'refused')) {
      for (const [said] of JSON.stringify(row.content).matchAll(/Remember: box \d+ is number [a-z]+-\d+-\d+\./g)) {
        this.facts.add(said);
      }
    }
  }

  /** Says something, and follows it until it has ended. */
  async sendAndFollow(mark: string, content: unknown): Promise<void> {
    this.#sentCount += 1;
    const key = `${this.id}-${this.#sentCount}`;
    for (;;) {
      const { status, headers, text, events } = await sendOnce(this.#edge, this.id, content, { ...this.kind, key });
      if (headers.get('sluice-history') === 'truncated') this.truncatedCount.add(mark);
      if (status === 0 || status === 503) continue;
      expect(status, `${this.id}: ${text}${this.#edge.lastLogLines}`).toBe(200);
      const end = events.at(-1)?.event;
      if (end !== 'message_stop' && end !== 'error') continue;
      if (end === 'error') this.interruptedCount += 1;
      // What has failed before it said anything is no turn.
      if (events.some(({ event }) => event === 'message_start')) break;
    }
    await this.readRows();
  }

  async readRows(): Promise<void> {
    const data = await this.#edge.getAllPages<HistoryRow>(`/conversations/${this.id}/messages`);
    expectSameRows(data.slice(0, this.rows.length), this.rows, this.id);
    expect(new Set(data.map(({ id }) => id)).size, 'no message twice').toBe(data.length);
    if (openCallsOf(data).length === 0) expect(areRowsAccepted(data), this.id).toBeUndefined();
    this.rows = data;
  }
}

/** Says something once. Calls that wait for a result are given up by a new question. */
export async function sendOnce(
  lives: RestartingEdge,
  conversation: string,
  content: unknown,
  { more = {}, key }: { more?: object; key?: string } = {},
): Promise<Stream> {
  const messages = [{ role: 'user', content }];
  const body = { conversation, messages, on_pending_tools: 'cancel', stream: true, ...more };
  const own = { ...JSON_HEADERS, 'anthropic-beta': 'thinking-binding-controls-2026-08-01' };
  const headers = key === undefined ? own : { ...own, 'idempotency-key': key };
  return await lives.readStream('/messages', { ...postInit(body), headers });
}

/** @returns the conversation of a mark */
export const conversationOfMark = (mark: string): string => [...mark.matchAll(MARK)][0]?.[1] ?? '';
