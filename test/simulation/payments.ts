/** The world that a run with approvals acts on: an API that calls tools, and tools that pay and look. */
import type Anthropic from '@anthropic-ai/sdk';
import * as z from 'zod';
import { shareToolsOf } from '#edge/plugins/runs/tools/worker-tools.ts';
import { caller, type Host, Violation } from './host.ts';
import type { Script } from './upstream.ts';
import type { World } from './world.ts';

/** What comes of a call. */
export const OUTCOMES = ['done', 'done', 'failed', 'silent'] as const;
export type Outcome = (typeof OUTCOMES)[number];

/** Tools as a request names them: two that a person is asked about, one of them made once at most, and one that is just made. */
export const TOOLS = [
  { name: 'pay', run: { worker: true, approval: 'always' } },
  { name: 'remind', run: { worker: true, approval: { over: { field: 'amount', above: 10 } } } },
  { name: 'look', run: { worker: true } },
];

/** Tools that a crash must not have made twice. */
export const ONCE: ReadonlySet<string> = new Set(['pay']);
export const PAID = 'It was done.';

/** A call that has arrived where it does something. */
export interface Made {
  id: string;
  name: string;
  input: unknown;
}

/** The tools of the world that runs now. */
export class Till {
  readonly made: Made[] = [];
  readonly #world: World;
  readonly #outcomes: readonly Outcome[];
  #calls = 0;
  /** Looks at each call as it arrives. */
  readonly #onMade: (made: Made) => void;

  constructor(world: World, outcomes: readonly Outcome[], onMade: (made: Made) => void) {
    this.#world = world;
    this.#outcomes = outcomes;
    this.#onMade = onMade;
    open = this;
  }

  /** Takes a call to where it does something, once what its object has written is stored. */
  take(made: Made): Promise<string> {
    const outcome = this.#world.isCalm ? 'done' : (this.#outcomes[this.#calls] ?? 'done');
    this.#calls += 1;
    const host = caller();
    return new Promise((resolve, reject) => {
      host?.leave(() => void this.#make(made, outcome, resolve, reject));
    });
  }

  async #make(made: Made, outcome: Outcome, resolve: (text: string) => void, reject: (thrown: Error) => void) {
    await this.#world.hop(`${made.name} ${made.id} (${outcome})`);
    this.made.push(made);
    try {
      this.#onMade(made);
    } catch (thrown) {
      if (!(thrown instanceof Violation)) throw thrown;
      this.#world.fail(thrown.message);
    }
    if (outcome === 'silent') return;
    await this.#world.hop(`${made.name} ${made.id} is ${outcome}`);
    if (outcome === 'done') resolve(PAID);
    else reject(new Error('There is no money.'));
  }

  /** @returns how often a call was made. */
  timesOf(id: string): number {
    return this.made.filter((one) => one.id === id).length;
  }
}

let open: Till | undefined;

const input = z.object({ amount: z.number() });
const tool = (name: string) => ({
  description: `Does ${name}.`,
  schema: input,
  once: ONCE.has(name),
  run: (given: z.infer<typeof input>, { tool_use_id: id }: { tool_use_id: string }) =>
    open?.take({ id, name, input: given }),
});
shareToolsOf({ tools: { pay: tool('pay'), remind: tool('remind'), look: tool('look') } });

/** Questions that have tools called, by their words. */
const CALLED: Readonly<Record<string, readonly { name: string; input: object }[]>> = {
  pay: [{ name: 'pay', input: { amount: 500 } }],
  'pay and look': [
    { name: 'look', input: { amount: 1 } },
    { name: 'pay', input: { amount: 500 } },
  ],
  'pay twice': [
    { name: 'pay', input: { amount: 500 } },
    { name: 'pay', input: { amount: 700 } },
  ],
  remind: [
    { name: 'remind', input: { amount: 20 } },
    { name: 'remind', input: { amount: 5 } },
  ],
};
export const PAYMENTS = Object.keys(CALLED);

/** An API that calls tools where the newest text of a user asks for them, and that says so once it has results. */
export const payingScript: Script = (messages, number) => {
  const asked = wordsIn(messages.at(-1));
  const calls = (CALLED[asked] ?? []).map((call, at) => ({ ...call, id: `toolu_${number}_${at}` }));
  return { words: [`${asked || 'Done'}:`, ' one', ' two'], calls };
};

/** @returns the text of a question; empty where a message has results alone */
function wordsIn(message: Anthropic.MessageParam | undefined): string {
  const { content = '' } = message ?? {};
  if (typeof content === 'string') return content;
  return content.flatMap((block) => (block.type === 'text' ? [block.text] : [])).join('');
}

/** @returns the rows of a table of an object; none where it has no such table */
export function rowsOf(host: Host, table: string, query: string, ...bindings: (string | number)[]) {
  return host.storage.has(table) ? host.storage.exec(query, bindings).toArray() : [];
}
